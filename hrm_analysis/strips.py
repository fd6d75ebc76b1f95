"""Draw the answers to one puzzle as they change.

Shapes: k answers, S cells.
"""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from PIL import Image

from hrm_analysis.study import Study
from hrm_core.pictures.grids import Mark, beside, caption, legend, stack
from hrm_core.pictures.sheets import cell_size
from hrm_core.tasks.capabilities import Checked, Drawable, given_cells

IntArray = npt.NDArray[np.integer]
BoolArray = npt.NDArray[np.bool_]

ROOM = 190  # pixels of the longer side of a board
GAP = 14
MARKS = (Mark.GIVEN, Mark.CHANGED, Mark.WRONG)


def boards(study: Study, row: int, answers: IntArray) -> list[Image.Image]:
    """Draw the question of a puzzle, then answers (k, S) to it.

    Marked are cells that are given, wrong, and changed since the answer before.
    """
    task = study.task
    assert isinstance(task, Drawable), "callers check this"
    question = study.questions.inputs[row]
    given = given_cells(task, question)
    cell = cell_size(task.picture, [question, *answers], ROOM)
    drawn = [task.picture(question, np.where(given, Mark.GIVEN, Mark.PLAIN), cell)]
    before = answers[0]
    for answer in answers:
        is_kept = given & (answer == question)
        choices = [is_kept, wrong_cells(study, row, answer), answer != before]
        marks = np.select(choices, [Mark.GIVEN, Mark.WRONG, Mark.CHANGED], Mark.PLAIN)
        drawn.append(task.picture(answer, marks, cell))
        before = answer
    return drawn


def wrong_cells(study: Study, row: int, answer: IntArray) -> BoolArray:
    """Mark cells (S,) that differ from the solution; without one, those that break a rule."""
    labels = study.questions.labels[row]
    if (labels >= 0).any():
        differs: BoolArray = (labels >= 0) & (answer != labels)
        return differs
    if isinstance(study.task, Checked):
        return study.task.conflicts(study.questions.inputs[row][None], answer[None])[0]
    return np.zeros(answer.shape, bool)


def explained(study: Study) -> list[Mark]:
    """Return the marks for a legend: no cell is given where the task gives none."""
    assert isinstance(study.task, Drawable), "callers check this"
    return [mark for mark in MARKS if mark != Mark.GIVEN or mark in study.task.legend]


def film_strip(
    images: Sequence[Image.Image], captions: Sequence[str], columns: int, marks: Sequence[Mark]
) -> Image.Image:
    """Lay out captioned pictures line by line, with a legend of marks below."""
    named = [caption(image, text) for image, text in zip(images, captions, strict=True)]
    starts = range(0, len(named), columns)
    lines = [beside(named[start : start + columns], gap=GAP) for start in starts]
    width = max(line.width for line in lines)
    return stack([*lines, legend(marks, width)], gap=GAP)
