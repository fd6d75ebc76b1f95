"""What `hrm eval` adds for ARC: answers to all augmentations of a test input pooled, pass@K, a submission."""

import json
from pathlib import Path
from typing import Any

import numpy as np

from cli.tables import print_table
from hrm_core.data.store import IDENTIFIERS_FILE, Split, read_identifiers
from hrm_core.pictures.animations import replaced_whole
from hrm_core.tasks import arc_protocol
from hrm_core.training.answering import Outcome


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
                self._votes.add(identifiers, examples.inputs, answers[part], scores.q_halt_logits[part])
            first += len(examples)

    def record(self) -> dict[str, Any]:
        """pass@K, and the rank of the solution of each task, null where it never appears."""
        ranks = arc_protocol.ranks(self._votes, self._questions)
        found = {task: None if rank == float("inf") else rank for task, rank in ranks.items()}
        return {"pass_at": arc_protocol.pass_at(self._votes, self._questions), "ranks": found}

    def print(self) -> None:
        """Print pass@K."""
        rows = [[f"pass@{k}", f"{share:.2%}"] for k, share in arc_protocol.pass_at(self._votes, self._questions).items()]
        print_table(f"{len(self._questions):,} test tasks, answers to all their augmentations pooled", ["", "tasks solved"], rows)

    def write_submission(self, path: Path) -> None:
        """Write two attempts for every test input. Raises: HRMError if the file cannot be written."""
        with replaced_whole(path) as draft:
            draft.write_text(json.dumps(arc_protocol.submission(self._votes, self._questions)))
