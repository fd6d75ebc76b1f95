"""Report the results of a whole ARC test: pass@K, each task, and a submission."""

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
    """Answers of a whole evaluation, pooled by task and test input."""

    def __init__(
        self, split: Split, names: Sequence[str], answered: Sequence[tuple[IntArray, FloatArray]]
    ) -> None:
        """Pool answers; see `Polled.poll`. Raises: DataError if an identifier has no name."""
        self._votes = pooling.Votes(names)
        self._questions = pooling.questions_of(split, names)
        first = 0
        for examples in split.sets.values():
            end = first + len(examples)
            puzzles = examples.puzzle_of(np.arange(len(examples)))
            identifiers = examples.puzzle_identifiers[puzzles]
            for answers, q_halt_logits in answered:
                self._votes.add(
                    identifiers,
                    examples.inputs,
                    answers[first:end],
                    q_halt_logits[first:end],
                )
            first = end
        self._standings = pooling.standings(self._votes, self._questions)

    def record(self) -> dict[str, Any]:
        """Return pass@K, and for each task the rank of its solution and its votes.

        pass@K is null if no solution is known; a rank is null if the solution is never answered.
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
        """Return the table of pass@K."""
        shares = pooling.pass_at(self._votes, self._questions)
        title = f"{len(self._standings):,} test tasks, answers to all their augmentations pooled"
        rows = [[f"pass@{k}", f"{share:.2%}"] for k, share in shares.items()]
        return Table(title, ["", "tasks solved"], rows)

    def _best(self) -> list[str | Table]:
        """Return the table of the best answered tasks and a line about the others."""
        standings = self._standings

        def order(task: str) -> tuple[float, int, str]:
            return _rank(standings[task]), -_votes(standings[task]), task

        tasks = sorted(standings, key=order)
        title = f"Tasks: solved is pass@{ATTEMPTS}, the best answered first"
        rows = [_row(task, standings[task]) for task in tasks[:NUM_SHOWN]]
        pages: list[str | Table] = [Table(title, COLUMNS, rows)]
        others = tasks[NUM_SHOWN:]
        if others:
            num_solved = sum(_rank(standings[task]) <= ATTEMPTS for task in others)
            pages.append(
                f"  and {len(others):,} more, {num_solved:,} of them solved; --json lists all\n"
            )
        return pages


def _task_record(inputs: Sequence[Standing]) -> dict[str, Any]:
    """Return the record of one task for JSON."""
    records = []
    for standing in inputs:
        record = standing._asdict()
        record["rank"] = _or_none(standing.rank)
        records.append(record)
    return {"rank": _or_none(_rank(inputs)), "inputs": records}


def _row(task: str, inputs: Sequence[Standing]) -> list[str]:
    """Return the row of one task in the table."""
    num_solved = sum(standing.rank <= ATTEMPTS for standing in inputs)
    num_answers = sum(standing.answers for standing in inputs)
    return [
        task,
        "yes" if num_solved == len(inputs) else "no",
        f"{num_solved} of {len(inputs)}",
        f"{num_answers:,}",
        f"{_votes(inputs):,}",
    ]


def _rank(inputs: Sequence[Standing]) -> float:
    """Return the K at which a task is solved."""
    return max(standing.rank for standing in inputs)


def _votes(inputs: Sequence[Standing]) -> int:
    """Count the right answers to a task."""
    return sum(standing.votes for standing in inputs)


def _or_none(rank: float) -> float | None:
    """Return None for an infinite rank, which JSON cannot hold."""
    return None if rank == math.inf else rank
