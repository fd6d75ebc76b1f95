"""Sheets: many examples on one page."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from hrm_core.data.store import load_split, present_splits
from hrm_core.errors import DataError
from hrm_core.pictures.animations import save_png
from hrm_core.pictures.grids import Mark
from hrm_core.pictures.sheets import sheet
from hrm_core.tasks import find_task
from hrm_core.tasks.task import Task, TokenArray
from hrm_core.training.solving import Solution


def dataset_sheet(directory: Path, out: Path, num_rows: int, cell: int = 24) -> None:
    """Draw the first examples of each split: question and answer.

    Raises: DataError if the task of the data set is not known, HRMError if the picture cannot be written.
    """
    rows, captions = [], []
    for name in present_splits(directory):
        split = load_split(directory, name)
        task = find_task(directory, split.metadata.vocab_size, split.metadata.seq_len)
        if task is None:
            raise DataError(f"{directory} is of no task that can be drawn; leave out --sheet")
        for examples in split.sets.values():
            for i in range(min(num_rows, len(examples))):
                question, answer = np.asarray(examples.inputs[i], np.uint8), np.asarray(examples.labels[i], np.uint8)
                rows.append([_drawn(task, question, question, cell), _drawn(task, question, answer, cell)])
                rating = "" if examples.ratings is None else f", rating {examples.ratings[i]}"
                captions.append(f"{name} {i}{rating}")
    save_png(sheet(rows, ["question", "answer"], captions, str(directory.name), across=2), out)


def solutions_sheet(solutions: Sequence[Solution], cell: int = 32) -> Image.Image:
    """Draw questions and answers side by side."""
    rows = [[_drawn(s.task, s.question, s.question, cell), _drawn(s.task, s.question, s.answer, cell)] for s in solutions]
    verdicts = {True: "accepted", False: "not a solution", None: "not checked"}
    return sheet(rows, ["question", "answer"], [f"{i + 1}: {verdicts[s.accepted]}" for i, s in enumerate(solutions)])


def _drawn(task: Task, question: TokenArray, tokens: TokenArray, cell: int) -> Image.Image:
    return task.picture(tokens, np.where(task.given(question), Mark.GIVEN, Mark.PLAIN), cell)
