"""Measure every part that was asked for and write the folder of the report.

numbers.json holds all data of the pictures, report.md the definitions and the numbers that matter.
"""

import json
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from hrm_analysis.dimension import measure_dimension
from hrm_analysis.halting import measure_halting
from hrm_analysis.intermediate import measure_answers
from hrm_analysis.landscape import measure_landscape
from hrm_analysis.modes import measure_modes
from hrm_analysis.parts import PUZZLES, Part, Picture, worded
from hrm_analysis.residuals import measure_residuals
from hrm_analysis.study import LeftOutError, Study
from hrm_analysis.trajectories import measure_trajectories
from hrm_core.errors import HRMError
from hrm_core.files import Refusal, parents_made, staged
from hrm_core.pictures.animations import save_png
from hrm_core.pictures.charts import save_chart

MEASURES: Mapping[str, Callable[[Study], Part]] = {
    "residuals": measure_residuals,
    "trajectories": measure_trajectories,
    "dimension": measure_dimension,
    "answers": measure_answers,
    "modes": measure_modes,
    "landscape": measure_landscape,
    "halting": measure_halting,
}
REPORT, NUMBERS = "report.md", "numbers.json"
IN_USE = Refusal(HRMError, "choose another --out")


@dataclass(frozen=True, eq=False)
class Report:
    """Parts that were measured, and the reasons of those that were left out."""

    about: Sequence[str]  # lines of Markdown below the title
    facts: Mapping[str, Any]  # of numbers.json
    parts: Mapping[str, Part | str]  # a text is the reason
    things: str = PUZZLES  # the word for examples

    def record(self) -> dict[str, Any]:
        """Return all numbers as JSON-serialisable values."""
        found: dict[str, Any] = dict(self.facts)
        for name, part in self.parts.items():
            found[name] = {"left_out": part} if isinstance(part, str) else plain(part.numbers())
        return found

    def write(self, out: Path, svg: bool = False) -> None:
        """Write the folder, whole or not at all.

        Raises: HRMError if it is in use or cannot be written; BackendError without matplotlib.
        """
        target = out.resolve()
        try:
            with parents_made(target), staged(target, IN_USE) as draft:
                draft.mkdir()
                self._write_draft(draft, [".png", ".svg"] if svg else [".png"])
        except OSError as error:
            raise HRMError(
                f"{out} was not written ({error.strerror or error}); "
                "make room or choose another --out"
            ) from error

    def _write_draft(self, draft: Path, suffixes: Sequence[str]) -> None:
        lines = ["# How this model thinks", "", *self.about]
        for name, part in self.parts.items():
            if isinstance(part, str):
                lines += ["", f"## {name.capitalize()}", "", f"Left out: {part}"]
                continue
            texts = [part.definition, "", *part.findings()]
            lines += ["", f"## {part.title}", ""]
            lines += [worded(text, self.things) for text in texts]
            for picture, drawn in part.pictures().items():
                lines += ["", f"![{part.title}]({picture}.png)"]
                _save(drawn, draft / picture, suffixes)
        (draft / REPORT).write_text("\n".join(lines) + "\n", encoding="utf-8")
        (draft / NUMBERS).write_text(json.dumps(self.record()) + "\n", encoding="utf-8")


def analyze(
    study: Study,
    names: Sequence[str],
    about: Sequence[str],
    facts: Mapping[str, Any],
) -> Report:
    """Measure parts by their names."""
    parts: dict[str, Part | str] = {}
    for name in names:
        try:
            parts[name] = MEASURES[name](study)
        except LeftOutError as reason:
            parts[name] = worded(str(reason), study.things)
    return Report(about, facts, parts, study.things)


def check_out(out: Path) -> None:
    """Refuse a folder that holds something, or cannot be made. Raises: HRMError."""
    if out.is_symlink() or (out.exists() and not out.is_dir()):
        raise HRMError(f"{out} is there and no folder; choose another --out")
    if out.is_dir() and any(out.iterdir()):
        raise HRMError(f"{out} is not empty; choose another --out or remove it first")
    above = next(folder for folder in out.resolve().parents if folder.exists())
    if not above.is_dir() or not os.access(above, os.W_OK):
        raise HRMError(f"cannot write {out}: {above} is no writable folder; choose another --out")


def plain(value: Any) -> Any:
    """Return numbers as JSON has them: arrays as lists, what is not finite as null."""
    if isinstance(value, Mapping):
        return {str(name): plain(each) for name, each in value.items()}
    if isinstance(value, np.ndarray | np.generic):
        value = value.tolist()
    if isinstance(value, list | tuple):
        return [plain(each) for each in value]
    if isinstance(value, float):
        return round(value, 6) if np.isfinite(value) else None
    return value


def _save(picture: Picture, path: Path, suffixes: Sequence[str]) -> None:
    """Write a chart in every format, a drawing of boards as PNG."""
    if isinstance(picture, Image.Image):
        save_png(picture, path.with_suffix(".png"))
        return
    for suffix in suffixes:
        save_chart(picture, path.with_suffix(suffix))
