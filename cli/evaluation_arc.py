"""What `hrm eval` adds for ARC: answers to all augmentations of a test input pooled, pass@K, a submission."""

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click
import numpy as np

from hrm_core.data.store import IDENTIFIERS_FILE, Split, read_identifiers
from hrm_core.inference.answering import Outcome
from hrm_core.pictures.animations import replaced_whole
from hrm_tasks.arc import pooling as arc_protocol
from hrm_tasks.arc.pooling import Standing

from .tables import print_table

ATTEMPTS = 2  # at a test input, in the ARC Prize
NUM_SHOWN = 20  # tasks in the table


class Pooled:
    """The answers of a whole evaluation, pooled by task and test input."""

    def __init__(self, split: Split, outcome: Outcome) -> None:
        """Raises: DataError if an identifier has no name."""
        names = read_identifiers(split.folder.parent / IDENTIFIERS_FILE)
        self._votes = arc_protocol.Votes(names)
        self._questions = arc_protocol.questions_of(split, names)
        first = 0
        for examples in split.sets.values():
            identifiers = examples.puzzle_identifiers[examples.puzzle_of(np.arange(len(examples)))]
            for scores, answers in zip(outcome.each, outcome.each_answers, strict=True):
                part = slice(first, first + len(examples))
                self._votes.add(
                    identifiers, examples.inputs, answers[part], scores.q_halt_logits[part]
                )
            first += len(examples)
        self._standings = arc_protocol.standings(self._votes, self._questions)

    def record(self) -> dict[str, Any]:
        """pass@K, null where no solution is known; of each task the rank of its solution, null where it never appears, and its votes."""
        tasks = {
            task: {
                "rank": _or_none(_rank(inputs)),
                "inputs": [{**each._asdict(), "rank": _or_none(each.rank)} for each in inputs],
            }
            for task, inputs in self._standings.items()
        }
        shares = arc_protocol.pass_at(self._votes, self._questions) if tasks else None
        return {"pass_at": shares, "tasks": tasks}

    def print(self, title: str = "") -> None:
        """Print pass@K under a title, then a line for each of the first tasks, the best answered ones first."""
        if title:
            click.echo(f"{title}\n")
        num_open = len(self._questions) - len(self._standings)
        if num_open:
            click.echo(
                f"{num_open:,} test tasks whose solutions are not known are answered, but not counted\n"
            )
        if not self._standings:
            return
        rows = [
            [f"pass@{k}", f"{share:.2%}"]
            for k, share in arc_protocol.pass_at(self._votes, self._questions).items()
        ]
        print_table(
            f"{len(self._standings):,} test tasks, answers to all their augmentations pooled",
            ["", "tasks solved"],
            rows,
        )
        best = sorted(
            self._standings.items(), key=lambda task: (_rank(task[1]), -_votes(task[1]), task[0])
        )
        columns = ["task", "solved", "test inputs solved", "answers", "of them right"]
        print_table(
            f"Tasks: solved is pass@{ATTEMPTS}, the best answered first",
            columns,
            [_row(*task) for task in best[:NUM_SHOWN]],
        )
        if len(best) > NUM_SHOWN:
            num_solved = sum(_rank(inputs) <= ATTEMPTS for _, inputs in best[NUM_SHOWN:])
            click.echo(
                f"  and {len(best) - NUM_SHOWN:,} more, {num_solved:,} of them solved; --json lists all\n"
            )

    def write_submission(self, path: Path) -> None:
        """Write two attempts for every test input. Raises: HRMError if the file cannot be written."""
        with replaced_whole(path) as draft:
            draft.write_text(json.dumps(arc_protocol.submission(self._votes, self._questions)))


def _row(task: str, inputs: Sequence[Standing]) -> list[str]:
    num_solved = sum(each.rank <= ATTEMPTS for each in inputs)
    return [
        task,
        "yes" if _rank(inputs) <= ATTEMPTS else "no",
        f"{num_solved} of {len(inputs)}",
        f"{sum(each.answers for each in inputs):,}",
        f"{_votes(inputs):,}",
    ]


def _rank(inputs: Sequence[Standing]) -> float:
    return max(each.rank for each in inputs)


def _votes(inputs: Sequence[Standing]) -> int:
    return sum(each.votes for each in inputs)


def _or_none(rank: float) -> float | None:
    return None if rank == math.inf else rank
