"""Modes of success and failure, and whether a right answer is a fixed point.

Source of the modes: arXiv 2601.10679. Shapes: N puzzles, A ACT steps, S cells.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from hrm_analysis.parts import Picture, table
from hrm_analysis.strips import boards, explained
from hrm_analysis.study import Study
from hrm_core.inference.slots import batch_of
from hrm_core.pictures.sheets import sheet
from hrm_core.tasks.capabilities import Drawable
from hrm_core.tasks.cells import wilson_interval

IntArray = npt.NDArray[np.integer]
BoolArray = npt.NDArray[np.bool_]

MODES = {
    "at once": "solved at once: right after the first ACT step and every later one",
    "late": "solved late: wrong after some step, right after the last",
    "lost": "solved and lost again: right after some step, wrong after the last",
    "wandering": "wandering: never right, the answer still changes at the end",
    "stuck": "stuck: never right, the answer has stopped changing",
}
QUIET_SHARE = 4  # an answer has stopped if it does not change in the last quarter of the ACT steps
MORE_STEPS = (0, 8, 32, 128)
MOST_CONTINUED = 48  # puzzles of the fixed-point test
NUM_SHOWN = 6  # answers of an example


@dataclass(frozen=True, eq=False)
class Modes:
    """How puzzles are solved or not, and what becomes of right answers."""

    mode: Sequence[str]  # (N,)
    quiet: int  # ACT steps without a change that make an answer stuck
    continued: IntArray  # (n,) puzzles that were right when they halted, continued
    still_right: BoolArray  # (4, n) after MORE_STEPS more
    num_right_at_halt: int
    examples: Image.Image | None
    halts_by_q: bool

    title = "Modes"

    @property
    def definition(self) -> str:
        """Return what is measured and drawn."""
        modes = "; ".join(MODES.values())
        halt = "when q halted (q_halt > q_continue)" if self.halts_by_q else "after the last step"
        return (
            f"Each puzzle has one mode: {modes}. An answer has stopped changing if its cells with a solution are the "
            f"same after each of the last {self.quiet + 1} ACT steps. Fixed-point test: of the answers that were "
            f"right {halt}, how many are right after more steps. On boards a wrong cell is red, changed or not."
        )

    @property
    def counts(self) -> dict[str, int]:
        """Return the number of puzzles of each mode."""
        return {name: list(self.mode).count(name) for name in MODES}

    def numbers(self) -> Mapping[str, Any]:
        """Return all data of the tables."""
        kept = {str(more): row for more, row in zip(MORE_STEPS, self.still_right, strict=True)}
        return {
            "counts": self.counts,
            "num_puzzles": len(self.mode),
            "quiet_steps": self.quiet,
            "right_at_halt": self.num_right_at_halt,
            "continued": self.continued,
            "still_right_after": kept,
        }

    def findings(self) -> Sequence[str]:
        """Return the share of each mode, and the fixed-point test."""
        rows = []
        for name, count in self.counts.items():
            rows.append([MODES[name], str(count), *_shares(count, len(self.mode))])
        columns = ["mode", f"of {len(self.mode)} puzzles", "share", "95 % interval"]
        lines = table(columns, rows)
        halted = f"{self.num_right_at_halt} answers were right when their puzzle halted."
        if not len(self.continued):
            return [*lines, "", halted, "There is nothing to continue."]
        rows = []
        for more, right in zip(MORE_STEPS, self.still_right, strict=True):
            share = _shares(right.sum(), len(right))
            rows.append([str(more), f"{right.sum()} of {len(right)}", *share])
        columns = ["ACT steps more", "still right", "share", "95 % interval"]
        sentence = f"{halted} The first {len(self.continued)} of them think on."
        return [*lines, "", sentence, "", *table(columns, rows)]

    def pictures(self) -> Mapping[str, Picture]:
        """Return an example of each mode."""
        return {} if self.examples is None else {"modes": self.examples}


def measure_modes(study: Study) -> Modes:
    """Sort puzzles into modes and continue right answers. Raises: LeftOutError."""
    quiet = max(1, study.num_steps // QUIET_SHARE)
    right = study.right
    answers = np.where(study.scored_at(0), study.recording.tokens, 0)
    mode = modes_of(right, answers, quiet)
    at_halt = right[study.halting_step, np.arange(len(mode))]
    rows = np.flatnonzero(at_halt)[:MOST_CONTINUED]
    still = _continued(study, rows)
    examples = _examples(study, mode) if isinstance(study.task, Drawable) else None
    by_q = study.config.learns_to_halt
    return Modes(mode, quiet, rows, still, int(at_halt.sum()), examples, by_q)


def modes_of(right: BoolArray, tokens: IntArray, quiet: int) -> list[str]:
    """Name the mode of each puzzle. Shapes: (A, N), (A, N, S) -> N names."""
    last = tokens[-1 - quiet :]
    is_stuck = (last == last[-1]).all(axis=(0, 2)) & (len(last) > 1)
    cases = [right.all(axis=0), right[-1], right.any(axis=0), ~is_stuck]
    names = ["at once", "late", "lost", "wandering"]
    found: list[str] = np.select(cases, names, "stuck").tolist()
    return found


def _continued(study: Study, rows: IntArray) -> BoolArray:
    """Let puzzles think on behind the step that they halted at. Returns: (4, n), right after so many more."""
    halted = study.halting_step[rows]
    still = np.zeros((len(MORE_STEPS), len(rows)), bool)
    for start in range(0, len(rows), study.batch_size):
        part = slice(start, start + study.batch_size)
        carry = study.backend.begin(batch_of(study.questions.select(rows[part]), study.config))
        for step in range(int(halted[part].max()) + MORE_STEPS[-1] + 1):
            carry, answers = study.backend.step(carry)
            tokens = answers.tokens
            study.advance(len(tokens))
            for place, more in enumerate(MORE_STEPS):
                due = np.flatnonzero(halted[part] + more == step)
                if len(due):
                    numbers = rows[part][due]
                    still[place, start + due] = study.is_right(tokens[due], 0, numbers)
    return still


def _examples(study: Study, mode: Sequence[str]) -> Image.Image:
    """Draw the first puzzle of each mode, its question and its answers after some ACT steps."""
    steps = np.linspace(0, study.num_steps - 1, min(NUM_SHOWN, study.num_steps)).astype(int)
    rows, captions = [], []
    for name in MODES:
        if name in mode:
            number = list(mode).index(name)
            rows.append(boards(study, number, study.recording.tokens[steps, number]))
            captions.append(f"{MODES[name].partition(':')[0]}, puzzle {number}")
    headings = ["question", *(f"step {step + 1}" for step in steps.tolist())]
    return sheet(rows, headings, captions, marks=explained(study), page_width=1)


def _shares(count: int, total: int) -> list[str]:
    low, high = wilson_interval(count, total)
    return [f"{count / max(total, 1):.1%}", f"{low:.1%} to {high:.1%}"]
