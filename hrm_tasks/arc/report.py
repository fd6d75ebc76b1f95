"""The results of a whole ARC test: pass@K, task by task, and a submission."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from hrm_core.data.store import Split
from hrm_core.tasks.capabilities import FloatArray, Table
from hrm_core.tasks.contract import IntArray
from hrm_tasks.arc import pooling
from hrm_tasks.arc.pooling import Standing, Submission

ATTEMPTS = 2  # at a test input, in the ARC Prize
NUM_SHOWN = 20  # tasks in the table
COLUMNS = ("task", "solved", "test inputs solved", "answers", "of them right")


class ArcPoll:
    """The answers of a whole evaluation, pooled by task and test input."""

    def __init__(
        self, split: Split, names: Sequence[str], answered: Sequence[tuple[IntArray, FloatArray]]
    ) -> None:
        """Pool answers; see `Polled.poll`. Raises: DataError if an identifier has no name."""
        self._votes = pooling.Votes(names)
        self._questions = pooling.questions_of(split, names)
        first = 0
        for examples in split.sets.values():
            identifiers = examples.puzzle_identifiers[examples.puzzle_of(np.arange(len(examples)))]
            rows = slice(first, first + len(examples))
            for answers, q_halt_logits in answered:
                self._votes.add(identifiers, examples.inputs, answers[rows], q_halt_logits[rows])
            first = rows.stop
        self._standings = pooling.standings(self._votes, self._questions)

    def record(self) -> dict[str, Any]:
        """Return pass@K, and of each task the rank of its solution and its votes.

        pass@K is null where no solution is known, a rank is null where the solution never appears.
        """
        tasks = {task: _task_record(inputs) for task, inputs in self._standings.items()}
        shares = pooling.pass_at(self._votes, self._questions) if tasks else None
        return {"pass_at": shares, "tasks": tasks}

    def pages(self) -> list[str | Table]:
        """Return pass@K, then a line for each of the first tasks, the best answered ones first."""
        pages: list[str | Table] = []
        num_open = len(self._questions) - len(self._standings)
        if num_open:
            pages.append(
                f"{num_open:,} test tasks whose solutions are not known are answered, "
                "but not counted\n"
            )
        if self._standings:
            pages += [self._pass_at(), *self._best()]
        return pages

    def submission(self) -> Submission:
        """Return two attempts at every test input, in the Kaggle ARC Prize format."""
        return pooling.submission(self._votes, self._questions)

    def _pass_at(self) -> Table:
        shares = pooling.pass_at(self._votes, self._questions)
        title = f"{len(self._standings):,} test tasks, answers to all their augmentations pooled"
        rows = [[f"pass@{k}", f"{share:.2%}"] for k, share in shares.items()]
        return Table(title, ["", "tasks solved"], rows)

    def _best(self) -> list[str | Table]:
        best = sorted(
            self._standings.items(), key=lambda task: (_rank(task[1]), -_votes(task[1]), task[0])
        )
        title = f"Tasks: solved is pass@{ATTEMPTS}, the best answered first"
        shown: list[str | Table] = [
            Table(title, COLUMNS, [_row(*task) for task in best[:NUM_SHOWN]])
        ]
        others = best[NUM_SHOWN:]
        if others:
            num_solved = sum(_rank(inputs) <= ATTEMPTS for _, inputs in others)
            shown.append(
                f"  and {len(others):,} more, {num_solved:,} of them solved; --json lists all\n"
            )
        return shown


def _task_record(inputs: Sequence[Standing]) -> dict[str, Any]:
    each = [{**standing._asdict(), "rank": _or_none(standing.rank)} for standing in inputs]
    return {"rank": _or_none(_rank(inputs)), "inputs": each}


def _row(task: str, inputs: Sequence[Standing]) -> list[str]:
    num_solved = sum(standing.rank <= ATTEMPTS for standing in inputs)
    return [
        task,
        "yes" if _rank(inputs) <= ATTEMPTS else "no",
        f"{num_solved} of {len(inputs)}",
        f"{sum(standing.answers for standing in inputs):,}",
        f"{_votes(inputs):,}",
    ]


def _rank(inputs: Sequence[Standing]) -> float:
    return max(standing.rank for standing in inputs)


def _votes(inputs: Sequence[Standing]) -> int:
    return sum(standing.votes for standing in inputs)


def _or_none(rank: float) -> float | None:
    return None if rank == math.inf else rank
