"""The summary of a data set of pictures, and the reasons to doubt what a model makes of it."""

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from hrm_core.messages import first_few
from hrm_core.tasks.picture_collection import Collection, Parts

MAX_SHOWN = 20  # labels in a line
MAX_APART = 0.5  # difference of a label's share between two sources that is warned of


def summary(record: Mapping[str, Any]) -> str:
    """Describe a data set in one line."""
    height, width = record["task_settings"]["size"]
    parts = []
    for split, title in (("train", "training"), ("test", "test")):
        if f"{split}_images" in record:
            count, examples = record[f"{split}_images"], record[f"{split}_examples"]
            more = f" in {examples:,} examples" if examples > count else ""
            parts.append(f"{count:,} {title} images{more}")
    shown = first_few([_counted(record, label) for label in record["task_settings"]["labels"]], 20)
    line = f"{', '.join(parts)}, {height}x{width}; {shown}"
    return f"{line}; {record['note']}" if "note" in record else line


def remarks(record: Mapping[str, Any], collection: Collection, parts: Parts) -> Iterator[str]:
    """Yield a sentence for each thing that the user should know about the data."""
    converted = [f"{note} ({count:,})" for note, count in record["converted"].items()]
    if converted:
        yield f"images converted: {', '.join(converted)}"
    left_out = [f"{why} ({count:,})" for why, count in record["left_out"].items()]
    if left_out:
        yield f"left out: {', '.join(left_out)}"
    if parts.unused and parts.test_on == "val":
        yield (
            f"{parts.unused:,} images of test stay out: the best checkpoint is chosen on "
            "val; build another data set with --test-on test for the last word"
        )
    elif parts.unused:
        yield (
            f"{parts.unused:,} images of val stay out: measure a finished model on this test, "
            "since a checkpoint chosen on it looks too good"
        )
    if count := record["test_images_in_training"]:
        yield (
            f"{count:,} of {record['test_images']:,} test images are also trained on; what is "
            "measured on them says nothing of new images"
        )
    yield from _undefined(record)
    yield from _sources(collection, parts)
    if record["flip"]:
        yield _flipped(record)


def _flipped(record: Mapping[str, Any]) -> str:
    wrong = "where left and right differ they are wrong"
    if "note" in record:
        wrong = "a mirrored chest is anatomically wrong, its heart is on the other side"
    return f"every other copy is mirrored: {wrong}"


def _counted(record: Mapping[str, Any], label: str) -> str:
    """Name a label with the number of pictures that have it."""
    splits = [split for split in ("train", "test") if f"{split}_images" in record]
    counts = [f"{record[f'{split}_labels'][label]['present']:,}" for split in splits]
    return f"{label} {' + '.join(counts)}"


def one_sided(counts: Mapping[str, Mapping[str, int]]) -> list[str]:
    """Return the labels of which no example, or no counterexample, is counted."""
    return [label for label, count in counts.items() if not (count["present"] and count["absent"])]


def _undefined(record: Mapping[str, Any]) -> Iterator[str]:
    """Name the labels of which a split shows no example, or no counterexample."""
    for split, what in (
        ("train", "a model cannot learn them"),
        ("test", "their AUROC is not defined"),
    ):
        labels = one_sided(record.get(f"{split}_labels", {}))
        if labels:
            names = first_few(labels, MAX_SHOWN)
            yield f"{split} has only one class of {names}: {what}"


def _sources(collection: Collection, parts: Parts) -> Iterator[str]:
    """Name the labels that tell from which source a training picture comes."""
    if collection.origins is None or "train" not in parts.rows:
        return
    origins = np.array(collection.origins)[parts.rows["train"]]
    targets = collection.named.targets[parts.rows["train"]]
    found = []
    for label, column in zip(collection.named.labels, targets.T, strict=True):
        shares = []
        for origin in np.unique(origins):
            known = column[(origins == origin) & (column >= 0)]
            if len(known):
                shares.append(known.mean())
        if shares and max(shares) - min(shares) > MAX_APART:
            found.append(label)
    if found:
        yield (
            f"the sources of the images differ in {first_few(found, MAX_SHOWN)}: a model can learn "
            "the source instead of the label"
        )
