"""Say which labels pictures have: `hrm predict MODEL image.png`, `model.predict(array)`.

Shapes: N pictures, C chunks of S tokens, F labels, H, W pixels.
"""

import os
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Annotated, Any, NamedTuple, Self

import numpy as np
import numpy.typing as npt
from PIL import Image
from pydantic import Field, model_validator

from hrm_core.data.label_tables import key_of
from hrm_core.data.picture_files import (
    Photo,
    array_photo,
    fitted,
    how_fitted,
    picture_paths,
    read_frames,
    read_photo,
    stacked,
)
from hrm_core.errors import DataError
from hrm_core.files import Refusal, check_writable, staged
from hrm_core.messages import cut, one_line
from hrm_core.pictures.animations import save_png
from hrm_core.pictures.sheets import sheet
from hrm_core.tasks import building, picture_explaining
from hrm_core.tasks.building import Flag
from hrm_core.tasks.capabilities import Ask
from hrm_core.tasks.contract import IntArray
from hrm_core.tasks.picture_explaining import Occlusion
from hrm_core.tasks.picture_scores import FloatArray, Judgement
from hrm_core.tasks.picture_sheets import chances_text, photo
from hrm_core.tasks.pictures import BLOCK, UNKNOWN, PictureSettings, PictureTask

Thing = Path | Image.Image | npt.NDArray[Any]  # a file, a folder, or a picture in memory
UintArray = npt.NDArray[np.uint8]

MOST_BARS = 12  # pictures with bars; of more there is a line each
MOST_SHOWN = 200  # pictures on a sheet
BAR_WIDTH = 30  # characters
MOST_NAME = 60  # characters of a picture's name in that of its map; 255 bytes are most
ANY_PATH = Field(strict=False)  # in Python a string will do
FOLDER = Refusal(DataError, "choose another folder")


class Options(building.Options):
    """What is drawn beside the chances."""

    things = "pictures"
    takes = (Path, np.ndarray, Image.Image)

    explain: Annotated[
        Path | None,
        ANY_PATH,
        Flag(
            "Draw which blocks of the picture speak for a label and against it (PNG); "
            "of several pictures into a new folder.",
            metavar="OUT",
        ),
    ] = None
    label: Annotated[
        str | None,
        Flag(
            "The label that --explain asks about; the likeliest if not set.",
            metavar="NAME",
            serves="explain",
        ),
    ] = None
    sheet: Annotated[
        Path | None,
        ANY_PATH,
        Flag("Draw the pictures with their chances (PNG).", metavar="FILE", is_file=True),
    ] = None

    @model_validator(mode="after")
    def _label_is_explained(self) -> Self:
        if self.label is not None and self.explain is None:
            raise ValueError("--label says what --explain asks about; add --explain OUT")
        return self


class Prepared(NamedTuple):
    """A picture as the model sees it."""

    name: str
    pixels: UintArray  # (H, W) or (C, H, W)
    notes: tuple[str, ...]  # what was converted


class Predicted(NamedTuple):
    """What a model says of one picture."""

    name: str
    chances: FloatArray  # (F,) of the labels that training showed
    notes: tuple[str, ...]
    occlusion: Occlusion | None


@dataclass(frozen=True, repr=False)
class Prediction:
    """What a model says of some pictures."""

    task: PictureTask
    pictures: Sequence[Predicted]

    @property
    def labels(self) -> Sequence[str]:
        """Names of the labels that training showed, (F,)."""
        return [self.task.labels[place] for place in self.task.learned.tolist()]

    def record(self) -> dict[str, Any]:
        """Return the prediction as JSON can hold it."""
        found = []
        for picture in self.pictures:
            chances = dict(zip(self.labels, picture.chances.tolist(), strict=True))
            record = {
                "name": picture.name,
                "chances": chances,
                "said": self._said(picture.chances),
                "converted": list(picture.notes),
            }
            if picture.occlusion is not None:
                label, _, evidence = picture.occlusion
                record["evidence"] = {"label": label, "log_odds": evidence.tolist()}
            found.append(record)
        unlearned = self.task.preparation.unlearned
        return {"pictures": found, "unlearned": list(unlearned), "note": self.task.note}

    def pages(self) -> list[str]:
        """Return bars for each picture, or lines for many, then what was converted."""
        if len(self.pictures) > MOST_BARS:
            pages = [self._line(picture) for picture in self.pictures]
        else:
            pages = [self._bars(picture) for picture in self.pictures]
        pages += self._converted()
        if unlearned := self.task.preparation.unlearned:
            pages.append(f"Not learned, training did not show them: {', '.join(unlearned)}.")
        note = self.task.note
        return [*pages, f"{note.capitalize()}."] if note else pages

    def __str__(self) -> str:
        return "\n".join(self.pages())

    __repr__ = __str__

    def _said(self, chances: FloatArray) -> list[str]:
        """Return the labels that the model gives a picture."""
        if self.task.preparation.exclusive:
            return [self.labels[int(chances.argmax())]]
        pairs = zip(self.labels, chances.tolist(), strict=True)
        return [label for label, chance in pairs if chance >= 0.5]

    def _line(self, picture: Predicted) -> str:
        return f"{one_line(picture.name)}: {chances_text(self.labels, picture.chances)}"

    def _bars(self, picture: Predicted) -> str:
        """Draw the chances of a picture, the likeliest label first."""
        width = max(map(len, self.labels), default=0)
        lines = [one_line(picture.name)]
        for label in np.argsort(-picture.chances, kind="stable").tolist():
            chance = float(picture.chances[label])
            bar = "█" * round(BAR_WIDTH * chance)
            lines.append(f"  {self.labels[label]:<{width}}  {bar:<{BAR_WIDTH}} {chance:6.1%}")
        if picture.occlusion is not None:
            lines.append(f"  {picture.occlusion.text()}")
        return "\n".join([*lines, ""])

    def _converted(self) -> list[str]:
        """Say what was converted, once for all pictures."""
        counts = Counter(note for picture in self.pictures for note in picture.notes)
        total = len(self.pictures)
        if total == 1:
            return [f"Converted: {note}." for note in counts]
        return [f"Converted, {count:,} of {total:,}: {note}." for note, count in counts.items()]


def predict(task: PictureTask, things: Sequence[Thing], options: Options, ask: Ask) -> Prediction:
    """Say which labels some pictures have; folders stand for all pictures in them.

    Raises: DataError naming the picture that cannot be read, or an unknown label; HRMError if a
    file cannot be written, and then none is.
    """
    wanted = _wanted(task, options)
    sources = list(_sources(things, task.preparation))
    _check_outputs(options, len(sources))
    _check_apart(options, sources)
    found: list[Predicted] = []
    shown: list[Image.Image] = []
    with _explanations(options.explain, len(sources)) as place:
        for picture, judged in _judged(task, ask, sources):
            occlusion = None
            if place is not None:
                occlusion = explain(task, ask, picture.pixels, judged, wanted)
                _draw(task, picture, occlusion, place(len(found), picture.name))
            chances = judged.chances[0, task.learned]
            found.append(Predicted(picture.name, chances, picture.notes, occlusion))
            if options.sheet is not None:
                shown.append(photo(picture.pixels))
    prediction = Prediction(task, found)
    if options.sheet is not None:
        _draw_sheet(prediction, shown, options.sheet)
    return prediction


def _judged(
    task: PictureTask, ask: Ask, sources: Sequence[tuple[Thing, str]]
) -> Iterator[tuple[Prepared, Judgement]]:
    """Yield each picture with what the model says of it, a block at a time."""
    waiting = (prepare(thing, name, task.preparation) for thing, name in sources)
    while block := list(islice(waiting, BLOCK)):
        judged = judge(task, ask, np.stack([each.pixels for each in block]))
        for number, picture in enumerate(block):
            yield picture, judged.select(np.array([number]))


def judge(task: PictureTask, ask: Ask, pictures: UintArray) -> Judgement:
    """Ask a model for the labels of pictures (N, ...) that are prepared."""
    tokens, images = task.questions(pictures)
    probabilities = ask.probabilities(tokens.astype(np.int32), images=images)
    nothing: IntArray = np.full((len(pictures), task.preparation.num_slots), UNKNOWN)
    return task.judgement(probabilities, nothing)


def explain(
    task: PictureTask, ask: Ask, picture: UintArray, judged: Judgement, wanted: int | None
) -> Occlusion:
    """Ask about a picture without each of its blocks, for a label or the likeliest one."""
    label = wanted
    if label is None:
        label = int(task.learned[judged.chances[0, task.learned].argmax()])
    side = task.preparation.patch
    frames = picture.reshape(-1, *picture.shape[-2:])
    blocks = picture_explaining.blocks_of(frames.shape, side)
    odds = []
    for start in range(0, len(blocks), BLOCK):
        hidden = [
            picture_explaining.without_block(frames, block).reshape(picture.shape)
            for block in blocks[start : start + BLOCK]
        ]
        odds.append(judge(task, ask, np.stack(hidden)).odds[:, label])
    evidence = picture_explaining.evidence_of(
        judged.odds[0, label], np.concatenate(odds), frames.shape, side
    )
    return Occlusion(task.labels[label], float(judged.chances[0, label]), evidence)


def prepare(thing: Thing, name: str, settings: PictureSettings) -> Prepared:
    """Read a picture and bring it to the size of the data set, as the data set was prepared.

    Raises: DataError naming the picture.
    """
    read = _read(thing, name, settings.frames)
    if read.pixels.shape == settings.image_shape:
        return Prepared(name, read.pixels, read.notes)
    height, width = settings.size
    how = how_fitted(read.pixels, settings.size, settings.fit)
    notes = (*read.notes, f"{how} to {height}x{width} pixels, as the training pictures were")
    return Prepared(name, fitted(read.pixels, settings.size, settings.fit), notes)


def _read(thing: Thing, name: str, num_frames: int) -> Photo:
    """Read a picture, or the frames of one."""
    if isinstance(thing, Path):
        return Photo(read_frames(thing, num_frames)) if num_frames > 1 else read_photo(thing)
    if num_frames == 1:
        return array_photo(thing, name)
    frames = [array_photo(frame, name) for frame in np.asarray(thing)]
    return stacked(frames, name, num_frames)


def _sources(things: Sequence[Thing], settings: PictureSettings) -> Iterator[tuple[Thing, str]]:
    """Name each picture; a folder stands for its pictures, where they are no frames of one."""
    for number, thing in enumerate(things, start=1):
        if not isinstance(thing, Path):
            yield thing, f"picture {number}"
        elif thing.is_dir() and settings.frames == 1:
            yield from ((path, str(path)) for path in picture_paths(thing))
        else:
            yield thing, str(thing)


def _wanted(task: PictureTask, options: Options) -> int | None:
    """Return the place of the label that is to be explained; None for the likeliest one.

    Raises: DataError if the model did not learn it, or none at all.
    """
    learned: dict[str, int] = {}
    for place in task.learned.tolist():
        learned[key_of(task.labels[place])] = place
    if options.explain is not None and not learned:
        raise DataError(
            f"this model learned no {task.word}, nothing is explained; leave out --explain"
        )
    label = options.label
    if label is None:
        return None
    if key_of(label) not in learned:
        known = ", ".join(task.labels[place] for place in learned.values())
        raise DataError(f"{label!r} is no {task.word} that this model learned; it knows {known}")
    return learned[key_of(label)]


def _check_outputs(options: Options, count: int) -> None:
    """Refuse what cannot be written, before the model is asked. Raises: HRMError."""
    if options.sheet is not None:
        check_writable(options.sheet, ".png")
        if count > MOST_SHOWN:
            raise DataError(
                f"{count:,} pictures are too many for a sheet; give at most {MOST_SHOWN}"
            )
    if options.explain is not None:
        check_writable(options.explain, ".png" if count == 1 else "")
        if count > 1 and (options.explain.exists() or options.explain.suffix):
            raise DataError(
                f"{options.explain} cannot be the folder of {count:,} maps; "
                "name a new folder without an ending"
            )


def _check_apart(options: Options, sources: Sequence[tuple[Thing, str]]) -> None:
    """Refuse to write over a picture that is asked about, or twice to one place. Raises: DataError."""
    taken = {os.path.realpath(thing) for thing, _ in sources if isinstance(thing, Path)}
    for flag, out in (("--explain", options.explain), ("--sheet", options.sheet)):
        if out is None:
            continue
        if os.path.realpath(out) in taken:
            raise DataError(
                f"{flag} {out} would replace a picture that is read, or another one that is drawn; "
                "choose another name"
            )
        taken.add(os.path.realpath(out))


Place = Callable[[int, str], Path]  # of the map of a picture, by its number and name


@contextmanager
def _explanations(out: Path | None, count: int) -> Iterator[Place | None]:
    """Say where each map is drawn: a file for one picture, a new folder for several."""
    if out is None:
        yield None
    elif count == 1:
        yield lambda number, name: out
    else:
        with staged(out.absolute(), FOLDER) as folder:
            folder.mkdir()
            yield (
                lambda number, name: (
                    folder / f"{number + 1:04}-{cut(Path(name).stem, MOST_NAME)}.png"
                )
            )


def _draw(task: PictureTask, picture: Prepared, occlusion: Occlusion, out: Path) -> None:
    frames = picture.pixels.reshape(-1, *picture.pixels.shape[-2:])
    side = task.preparation.patch
    title = one_line(Path(picture.name).name)
    page = picture_explaining.draw(frames, side, occlusion, title, task.note)
    save_png(page, out)


def _draw_sheet(prediction: Prediction, shown: Sequence[Image.Image], out: Path) -> None:
    """Draw all pictures with their chances."""
    captions = []
    for picture in prediction.pictures:
        name = one_line(Path(picture.name).name)
        captions.append(f"{name}\n{chances_text(prediction.labels, picture.chances)}")
    title, note = f"{len(shown):,} {prediction.task.things}", prediction.task.note
    rows = [[image] for image in shown]
    page = sheet(rows, [""], captions, f"{title}; {note}" if note else title)
    save_png(page, out)
