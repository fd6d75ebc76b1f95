"""Options of `hrm eval`: their usual values, and what is refused before anything is computed."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeGuard

import click

from .options import refuse_same

if TYPE_CHECKING:
    from hrm_core.data.store import Split
    from hrm_core.runs.checkpoint import Model
    from hrm_core.tasks.contract import Task


@dataclass(frozen=True)
class EvalOptions:
    """Options of `hrm eval`, as typed."""

    data: Path | None
    split: str
    halt: Any
    max_steps: int | None
    budget: int | None
    votes: int
    noise: float
    rollouts: int
    choose: Any
    limit: int | None
    batch_size: int
    submission: Path | None
    save_predictions: Path | None
    sheet: Path | None
    rows: int
    chart: Path | None
    digits: bool
    seed: int
    stateful: bool

    @property
    def outputs(self) -> list[Path]:
        """Return the files to write."""
        paths = (self.submission, self.save_predictions, self.sheet, self.chart)
        return [path for path in paths if path is not None]

    @property
    def limits(self) -> dict[str, int]:
        """Return the limits of ACT steps that were asked for, by their names in a record."""
        limits = {"max_steps": self.max_steps, "budget": self.budget}
        return {name: limit for name, limit in limits.items() if limit is not None}


def usual_halt(models: Sequence["Model"], options: EvalOptions) -> str:
    """Return the way to halt of a user who names none: both, if models have learned when to.

    A file holds the answers of one way, and generation knows only one. Only puzzles that halt
    early leave others something of a budget.
    """
    if options.budget is not None:
        return "q"
    learned = all(model.config.learns_to_halt for model in models)
    return "both" if learned and not options.outputs and not options.stateful else "fixed"


def usual_choice(task: "Task | None") -> str:
    """Return the choice of a user who names none."""
    from hrm_core.inference.asking import asks_in_turn

    return "first" if asks_in_turn(task) else "rules"


def check_options(options: EvalOptions, num_models: int) -> None:
    """Refuse options that clash, before anything is computed. Raises: UsageError, HRMError."""
    from hrm_core.files import check_writable

    if not math.isfinite(options.noise):
        raise click.UsageError(f"--noise {options.noise} is no standard deviation; try 0.1")
    if options.rollouts > 1 and not options.noise:
        raise click.UsageError("rollouts differ by their noise; add --noise, e.g. --noise 0.1")
    if options.submission is not None and options.limit is not None:
        raise click.UsageError("a submission answers every task; leave out --limit")
    if options.submission is not None and options.split != "test":
        raise click.UsageError("a submission answers the test inputs; leave out --split train")
    if options.digits and options.sheet is None:
        raise click.UsageError("--digits are written into pictures; add --sheet, or leave it out")
    _check_stateful_options(num_models, options)
    _check_budget_options(num_models, options)
    for path in options.outputs:
        if options.halt == "both":
            raise click.UsageError(
                f"--halt both gives two answers to each puzzle; choose fixed or q to write {path}"
            )
        check_writable(path, ".png" if path in (options.sheet, options.chart) else "")
    refuse_same(options.outputs)


def _check_stateful_options(num_models: int, options: EvalOptions) -> None:
    """Refuse other ways of evaluation beside --stateful. Raises: UsageError."""
    if not options.stateful:
        return
    clashes = {
        "--halt": options.halt not in (None, "fixed"),
        "--steps": options.max_steps is not None,
        "--budget": options.budget is not None,
        "--noise": options.noise > 0,
        "a second model": num_models > 1,
    }
    _refuse_beside("--stateful measures one model as it generates", clashes)


def _check_budget_options(num_models: int, options: EvalOptions) -> None:
    """Refuse what leaves no steps to share, or more than one answer to a puzzle. Raises: UsageError."""
    if options.budget is None:
        return
    if options.halt not in (None, "q"):
        raise click.UsageError(
            "--budget shares the ACT steps of puzzles that halt early; with "
            f"--halt {options.halt} there are none, use --halt q"
        )
    several = {
        "--votes": options.votes > 1,
        "--rollouts": options.rollouts > 1,
        "a second model": num_models > 1,
    }
    _refuse_beside("--budget is shared by puzzles that are answered once", several)


def _refuse_beside(reason: str, clashes: Mapping[str, bool]) -> None:
    """Refuse the first of some options that is given. Raises: UsageError."""
    for name, is_given in clashes.items():
        if is_given:
            raise click.UsageError(f"{reason}; leave out {name}")


def check_task(task: "Task | None", data: Path, options: EvalOptions) -> None:
    """Refuse options that the task does not support, before anything is computed."""
    from hrm_core.inference.asking import asks_in_turn
    from hrm_core.tasks.capabilities import Charted, Exports, Symmetric, Tabled
    from hrm_core.tasks.registry import titles_with

    if is_table(options.save_predictions) and not isinstance(task, Tabled):
        raise click.UsageError(
            f"predictions as .csv are for {titles_with('prediction_table')}, {data} is of none; "
            "choose a name that ends in .npz"
        )

    if options.chart is not None and not isinstance(task, Charted):
        raise click.UsageError(
            f"--chart is for tasks that have one to draw, {data} is of none; leave it out"
        )

    if options.choose == "first" and not asks_in_turn(task):
        raise click.UsageError(
            f"--choose first asks until rules accept an answer, {data} has none that could; "
            "choose rules, majority or q"
        )
    if options.votes > 1 and not isinstance(task, Symmetric):
        raise click.UsageError(
            f"{data} has no symmetries to vote with, {_no_symmetries(task)}; leave out --votes"
        )
    if options.submission is not None and not isinstance(task, Exports):
        what = task.name if task else "of an unknown task"
        raise click.UsageError(f"--submission is for {titles_with('submission')}, {data} is {what}")


def check_symmetric(task: "Task | None", split: "Split", limit: int | None) -> None:
    """Refuse a task or questions without symmetries before any is answered. Raises: PuzzleError."""
    import numpy as np

    from hrm_core.inference.evaluation import first_inputs
    from hrm_core.tasks.capabilities import PartlySymmetric, Symmetric

    if isinstance(task, Symmetric):
        task.draw_symmetries(np.random.default_rng(0), 1)
    if isinstance(task, PartlySymmetric):
        task.check_symmetric(first_inputs(split, limit))


def is_table(path: Path | None) -> TypeGuard[Path]:
    """Return True for the name of a CSV file."""
    return path is not None and path.suffix.lower() == ".csv"


def _no_symmetries(task: "Task | None") -> str:
    """Explain why a task cannot be asked under symmetries."""
    from hrm_core.tasks.capabilities import Polled

    if task is None:
        return "its task is not known"
    if isinstance(task, Polled):
        return f"{task.name.upper()} votes with the augmentations of its data set"
    return f"{task.name} has none"
