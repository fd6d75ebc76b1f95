"""Build data sets of pictures from a collection of them: the work of `hrm data xray` and `images`.

A training picture is a group: the picture, then its changed copies, each a puzzle. The groups of a
rare label are repeated. The test has each picture once. `images.csv` says which they are.

Shapes: N pictures, F labels.
"""

import csv
import hashlib
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np

from hrm_core.data.arrays import BLOCK_CELLS
from hrm_core.data.picture_copies import changed
from hrm_core.data.picture_files import Photo, fitted, how_fitted
from hrm_core.data.sources import escaped
from hrm_core.data.writer import Examples, Layout, write_dataset
from hrm_core.draws import Purpose, stream
from hrm_core.tasks.building import Built, Watch
from hrm_core.tasks.contract import IntArray
from hrm_core.tasks.picture_collection import Collection, Parts, split
from hrm_core.tasks.picture_options import PictureOptions
from hrm_core.tasks.picture_remarks import one_sided, remarks, summary
from hrm_core.tasks.pictures import PAD, PictureTask, UintArray

SET = "all"
IMAGES_FILE = "images.csv"
IMAGES_HEADER = ("split", "example", "file", "patient")  # example: the row of its first copy
MAX_REPEATS = 50
USUAL_COPIES = 8  # of each training picture
COPIED_BYTES = 1 << 28  # that training pictures may take with copies that nobody asked for


class _Builder:
    """Reads the pictures of a collection once and counts what it finds."""

    def __init__(
        self,
        task: PictureTask,
        collection: Collection,
        options: PictureOptions,
        copies: int,
        watch: Watch,
    ) -> None:
        self.task = task
        self.collection = collection
        self.options = options
        self.copies = copies  # of each training picture
        self.watch = watch
        self.converted: Counter[str] = Counter()
        self.trained: set[bytes] = set()  # hashes of pictures
        self.num_trained_too = 0  # test pictures that are also trained on

    def blocks(self, split_name: str, rows: IntArray, repeats: IntArray) -> Iterator[Examples]:
        """Yield the examples of a split in blocks that fit in memory."""
        num_rows = max(1, BLOCK_CELLS // int(np.prod(self.task.preparation.image_shape)))
        copies = self.copies if split_name == "train" else 0
        shown: list[UintArray] = []
        targets: list[IntArray] = []
        for row, pixels, count in zip(rows, self._pictures(split_name, rows), repeats, strict=True):
            rng = stream(self.options.seed, Purpose.AUGMENTATION, int(row))
            for _ in range(count):
                shown.append(pixels)
                shown += [changed(pixels, rng, self.options.flip) for _ in range(copies)]
                targets += [self.collection.named.targets[row]] * (1 + copies)
                if len(shown) >= num_rows:
                    yield self._examples(shown, targets, copies)
                    shown, targets = [], []
        if shown:
            yield self._examples(shown, targets, copies)

    def _pictures(self, split_name: str, rows: IntArray) -> Iterator[UintArray]:
        """Yield the pictures of a split at the size of the data set."""
        prepared = self.task.preparation
        names = [self.collection.files[row] for row in rows.tolist()]
        for name, photo in zip(names, self.collection.pictures.photos(names), strict=True):
            self.watch(name)
            self._count(photo)
            pixels = fitted(photo.pixels, prepared.size, prepared.fit)
            digest = hashlib.blake2b(pixels.tobytes(), digest_size=16).digest()
            if split_name == "train":
                self.trained.add(digest)
            else:
                self.num_trained_too += digest in self.trained
            yield pixels

    def _count(self, photo: Photo) -> None:
        """Count what is converted."""
        self.converted.update(photo.notes)
        prepared = self.task.preparation
        if how := how_fitted(photo.pixels, prepared.size, prepared.fit):
            self.converted[how] += 1

    def _examples(
        self, shown: Sequence[UintArray], targets: Sequence[IntArray], copies: int
    ) -> Examples:
        """Return pictures and their targets as examples, each a puzzle, in groups of copies."""
        inputs, images = self.task.questions(np.stack(shown))
        labels = self.task.answers(np.stack(targets))
        sizes = np.full(len(shown) // (1 + copies), 1 + copies)
        return Examples(inputs, labels, group_sizes=sizes, images=images)


def build_pictures(
    out: Path,
    kind: type[PictureTask],
    collection: Collection,
    options: PictureOptions,
    watch: Watch,
    frames: int = 1,
) -> Built:
    """Write a data set of pictures. Raises: HRMError; nothing half-written is left then."""
    settings = options.settings(collection.named, frames)
    parts = split(collection, options)
    if "train" in parts.rows and not settings.exclusive:
        counts = _counts(settings.labels, collection.named.targets[parts.rows["train"]])
        settings = settings.model_copy(update={"unlearned": tuple(one_sided(counts))})
    task = kind(settings)
    repeats: dict[str, IntArray] = {}
    for name, rows in parts.rows.items():
        repeats[name] = np.ones(len(rows), np.int64)
    if options.balance and "train" in parts.rows:
        repeats["train"] = repeats_of(collection.named.targets[parts.rows["train"]])
    copies = options.augment
    if copies is None:
        num_shown = int(repeats["train"].sum()) if "train" in repeats else 0
        copies = copies_of(num_shown, task.preparation.image_shape)
    builder = _Builder(task, collection, options, copies, watch)
    about = _about(task, collection, parts, options, repeats, copies)
    record = _write(out, builder, parts, repeats, about)
    return Built(record, summary(record), tuple(remarks(record, collection, parts)))


def repeats_of(targets: IntArray) -> IntArray:
    """Return how often each training picture is shown, so that rare labels weigh as common ones.

    The class of a picture is its rarest present label, or none. Each class is repeated until it is
    about as large as the largest, at most 50 times. Shapes: (N, F) -> (N,).
    """
    present = targets == 1
    counts = present.sum(axis=0)
    ranked = np.where(present, counts, len(targets) + 1)
    classes = np.where(present.any(axis=1), ranked.argmin(axis=1), targets.shape[1])
    sizes = np.bincount(classes, minlength=targets.shape[1] + 1)
    times = np.rint(sizes.max() / np.maximum(sizes, 1)).astype(np.int64)
    repeats: IntArray = np.clip(times, 1, MAX_REPEATS)[classes]
    return repeats


def copies_of(count: int, shape: tuple[int, ...]) -> int:
    """Return how many changed copies of each of `count` pictures are made if nobody says."""
    room = COPIED_BYTES // max(1, count * int(np.prod(shape)))
    return int(np.clip(room - 1, 0, USUAL_COPIES))


def _write(
    out: Path,
    builder: _Builder,
    parts: Parts,
    repeats: Mapping[str, IntArray],
    about: dict[str, Any],
) -> dict[str, Any]:
    """Write the splits; what is counted on the way goes into `about`. Returns: build.json."""
    task = builder.task
    layout = Layout(
        task.vocab_size, task.seq_len, PAD, ignore_label_id=PAD, num_chunks=task.num_chunks
    )

    def blocks(name: str, rows: IntArray) -> Iterator[Examples]:
        yield from builder.blocks(name, rows, repeats[name])
        about["converted"] = dict(sorted(builder.converted.items()))
        about["source"]["sha256"] = builder.collection.pictures.sha256
        about["test_images_in_training"] = builder.num_trained_too

    splits = {name: {SET: blocks(name, rows)} for name, rows in parts.rows.items()}
    listed = _listed(builder.collection, parts, repeats, builder.copies)
    return write_dataset(out, layout, splits, about, {IMAGES_FILE: listed})


def _listed(
    collection: Collection, parts: Parts, repeats: Mapping[str, IntArray], augment: int
) -> str:
    """Write images.csv: a line for each picture, with the row of its first copy."""
    text = StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(IMAGES_HEADER)
    for name, rows in parts.rows.items():
        copies = augment if name == "train" else 0
        sizes = repeats[name] * (1 + copies)
        firsts = np.cumsum(sizes) - sizes
        for row, first in zip(rows.tolist(), firsts.tolist(), strict=True):
            file = collection.files[row]
            patient = file if collection.patients is None else collection.patients[row]
            table.writerow((name, first, escaped(file), escaped(patient)))
    return text.getvalue()


def _about(
    task: PictureTask,
    collection: Collection,
    parts: Parts,
    options: PictureOptions,
    repeats: Mapping[str, IntArray],
    copies: int,
) -> dict[str, Any]:
    """Return what build.json says before the pictures have been read."""
    record: dict[str, Any] = {
        "task": task.name,
        "task_settings": dict(task.settings),
        "source": dict(collection.sources),
        "split_by": parts.split_by,
        "test_on": parts.test_on,
        "test_share": None if parts.split_by == "split" else options.test_share,
        "balance": options.balance,
        "augment": copies,
        "flip": options.flip,
        "seed": options.seed,
    }
    if task.note:
        record["note"] = task.note
    targets = collection.named.targets
    for name, rows in parts.rows.items():
        record[f"{name}_images"] = len(rows)
        own = copies if name == "train" else 0
        record[f"{name}_examples"] = int(repeats[name].sum()) * (1 + own)
        record[f"{name}_labels"] = _counts(collection.named.labels, targets[rows])
    record["unused_images"] = parts.unused
    record["left_out"] = {why: count for why, count in (collection.left_out or {}).items() if count}
    return record


def _counts(labels: Sequence[str], targets: IntArray) -> dict[str, dict[str, int]]:
    """Count the pictures in which each label is present, absent and not known."""
    counts = {}
    for label, column in zip(labels, targets.T, strict=True):
        counts[label] = {
            "present": int((column == 1).sum()),
            "absent": int((column == 0).sum()),
            "unknown": int((column < 0).sum()),
        }
    return counts
