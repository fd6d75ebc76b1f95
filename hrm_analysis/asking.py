"""The puzzles that a model is studied on: drawn from a data set, or as a user writes them."""

from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt

from hrm_analysis.study import DRAWN
from hrm_core.config import ModelConfig
from hrm_core.data.store import Split
from hrm_core.draws import Purpose, stream
from hrm_core.errors import PuzzleError
from hrm_core.inference.evaluation import chosen_questions, num_examples
from hrm_core.inference.reading import read_puzzles
from hrm_core.inference.slots import Questions
from hrm_core.runs.identifiers import Identifiers
from hrm_core.tasks.contract import Task


def drawn_questions(split: Split, limit: int, seed: int) -> Questions:
    """Draw `limit` examples of a split without replacement, in file order, with their solutions."""
    count = num_examples(split)
    rng = stream(seed, Purpose.ANALYSIS, DRAWN)
    numbers = rng.choice(count, min(limit, count), replace=False)
    return chosen_questions(split, np.sort(numbers))


def typed_questions(
    task: Task,
    config: ModelConfig,
    identifiers: Identifiers,
    arguments: Sequence[str],
    read_stdin: Callable[[], str],
    identifier: str = "",
) -> Questions:
    """Read puzzles as `hrm solve` does; their solutions are not known.

    Raises: PuzzleError naming the argument, or if the model wants a picture beside a puzzle.
    """
    if config.image_size is not None:
        raise PuzzleError(
            "this model sees pictures, which no puzzle has; name a data set with --data"
        )
    asked = read_puzzles(task, arguments, read_stdin)
    if not asked:
        raise PuzzleError("no puzzle is given; name one, a file of them, or a data set with --data")
    numbers: list[npt.NDArray[np.integer]] = []
    for question in asked:
        found = identifiers.find(identifier or question.name, task)
        numbers.append(found[:1])
    return Questions.unlabelled(
        np.stack([question.tokens for question in asked]).astype(np.int32),
        np.concatenate(numbers),
        np.array([question.prefix_len for question in asked], np.int32),
    )
