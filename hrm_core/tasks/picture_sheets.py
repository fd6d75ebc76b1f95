"""Pictures with their labels as captions: sheets of a data set and of an evaluation.

Shapes: N pictures, F labels.
"""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from PIL import Image

from hrm_core.messages import one_line
from hrm_core.pictures.grids import beside
from hrm_core.tasks.capabilities import Shown
from hrm_core.tasks.contract import IntArray
from hrm_core.tasks.picture_listing import Listing
from hrm_core.tasks.picture_scores import FloatArray, Judgement

ROOM = 240  # pixels of the longer side of a picture
ROOM_OF_FRAMES = 960  # of all frames together
FRAME_GAP = 4
LONGEST = 28  # characters of a file's name in a caption
NUM_SAID = 3  # labels whose chances a caption holds
NOTHING_KNOWN = np.array([-1])  # truth that makes no answer a wrong one


def photo(picture: npt.NDArray[np.uint8]) -> Image.Image:
    """Draw a picture (H, W), or frames (C, H, W) side by side, as large as a sheet has room for."""
    frames = picture.reshape(-1, *picture.shape[-2:])
    room = min(ROOM, max(1, ROOM_OF_FRAMES // len(frames)))
    return beside([_sized(Image.fromarray(frame), room) for frame in frames], gap=FRAME_GAP)


def shown(
    pictures: npt.NDArray[np.uint8],
    names: Sequence[str],
    labels: Sequence[str],
    targets: IntArray,
    judged: Judgement | None,
    learned: IntArray,
) -> list[Shown]:
    """Show pictures (N, ...) with their names, what is true (N, F) and what a model says.

    It says nothing of labels that are not `learned`.
    """
    found = []
    said = [labels[place] for place in learned.tolist()]
    for number, picture in enumerate(pictures):
        lines = [names[number], truth_text(labels, targets[number])]
        if judged is not None:
            truth = NOTHING_KNOWN if judged.exclusive else targets[number][learned]
            lines.append(said_text(said, judged.chances[number][learned], truth))
        found.append(Shown(photo(picture), "\n".join(lines)))
    return found


def names_of(listed: Listing, rows: IntArray) -> list[str]:
    """Name examples by their files, copies by their number from 1."""
    places = np.searchsorted(listed.rows, rows, side="right") - 1
    names = []
    for place, copy in zip(places.tolist(), (rows - listed.rows[places]).tolist(), strict=True):
        name = one_line(listed.files[place])
        name = name if len(name) <= LONGEST else f"…{name[1 - LONGEST :]}"
        names.append(f"{name}, copy {copy}" if copy else name)
    return names


def truth_text(labels: Sequence[str], truth: IntArray) -> str:
    """Write what is true of a picture (F,)."""
    names = [name for name, value in zip(labels, truth.tolist(), strict=True) if value == 1]
    unknown = int((truth < 0).sum())
    text = f"true: {', '.join(names) or 'none'}"
    return f"{text} ({unknown} unknown)" if unknown else text


def said_text(labels: Sequence[str], chances: FloatArray, truth: IntArray) -> str:
    """Write the chances (F,) that say most: the most wrong ones first, then the largest."""
    wrong = wrongness(chances[None], truth[None])[0]
    return f"said: {chances_text(labels, chances, -wrong)}"


def chances_text(
    labels: Sequence[str], chances: FloatArray, first: FloatArray | None = None
) -> str:
    """Write a few chances (F,), the largest, or those of the smallest `first` before them."""
    keys = np.zeros_like(chances) if first is None else first
    order = np.lexsort((-chances, keys))[:NUM_SAID]
    return ", ".join(f"{labels[label]} ({chances[label]:.0%})" for label in order.tolist())


def wrongness(chances: FloatArray, truth: IntArray) -> FloatArray:
    """Return the chance of the wrong answer where it is above one half, else 0. Shapes: (N, F)."""
    against = np.where(truth == 1, 1 - chances, chances)
    return np.where((truth >= 0) & (against > 0.5), against, 0.0)


def mistakes(judged: Judgement) -> FloatArray:
    """Return how confident the worst wrong answer to each picture is, 0 without one. (N,)."""
    if not judged.exclusive:
        worst: FloatArray = wrongness(judged.chances, judged.truth).max(axis=1)
        return worst
    said = judged.chances.argmax(axis=1)[:, None]
    is_right = np.take_along_axis(judged.truth, said, axis=1)[:, 0] != 0  # or not known
    return np.where(is_right, 0.0, judged.chances.max(axis=1))


def _sized(picture: Image.Image, room: int) -> Image.Image:
    """Enlarge a small picture by a whole factor, its pixels as squares, or reduce a large one."""
    longest = max(picture.size)
    if longest > room:
        size = [max(1, round(side * room / longest)) for side in picture.size]
        return picture.resize((size[0], size[1]), Image.Resampling.LANCZOS).convert("RGB")
    factor = room // longest
    size = [side * factor for side in picture.size]
    return picture.resize((size[0], size[1]), Image.Resampling.NEAREST).convert("RGB")
