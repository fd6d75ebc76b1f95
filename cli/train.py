"""`hrm train`: train a model on a data set, or continue a run."""

import shlex
from contextlib import AbstractContextManager, nullcontext, suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from hrm_core.backends import BackendMaker

from .options import DIRECTORY, MODEL, NAME, backend_options, open_model
from .train_options import TrainCommand, shorthand_options

if TYPE_CHECKING:
    from hrm_core.config import ModelConfig, RunConfig
    from hrm_core.training.fit import Assignment, Reporter

NO_CHANGES = (
    "--resume continues a run with its own settings; "
    "leave out the preset, --set and its shorthands, --max-updates and --init, "
    "or begin a new run: hrm train RUN/config.yaml --init RUN --run OTHER"
)


@click.command(cls=TrainCommand)
@click.argument("config", metavar="PRESET|CONFIG", type=NAME, required=False)
@click.option(
    "--data", type=DIRECTORY, help="Data set made by `hrm data`, or by the published scripts."
)
@click.option(
    "--run",
    "--run-directory",
    "run_directory",
    type=DIRECTORY,
    required=True,
    help="Directory of the run; under torchrun the long form.",
)
@click.option("--resume", is_flag=True, help="Continue the run after its newest checkpoint.")
@click.option(
    "--init",
    type=MODEL,
    metavar="MODEL",
    help="Start from the weights of a run, a checkpoint or a .safetensors file; "
    "the data may add puzzles.",
)
@click.option(
    "--set",
    "overrides",
    multiple=True,
    metavar="KEY=VALUE",
    help="Change a setting, e.g. --set optim.lr=1e-4.",
)
@click.option(
    "--max-updates",
    type=click.IntRange(1),
    help="End the run, and its schedule, after so many updates; "
    "it is evaluated after as many updates as a whole run.",
)
@shorthand_options
@click.option(
    "--micro-batch",
    type=click.IntRange(1),
    help="Slots that go through the network at once, to save memory; like train.micro_batch_size.",
)
@click.option("--tensorboard", is_flag=True, help="Write TensorBoard events into the run, too.")
@click.option(
    "--wandb",
    is_flag=True,
    help="Report to Weights & Biases, too; WANDB_MODE=offline keeps it in the run.",
)
@click.option(
    "--dry-run",
    is_flag=True,
    help="Estimate operations, time and memory of the run on this device, say which "
    "--micro-batch fits, and write nothing.",
)
@backend_options
def train(
    config: str | None,
    data: Path | None,
    run_directory: Path,
    resume: bool,
    init: Path | None,
    overrides: tuple[str, ...],
    max_updates: int | None,
    micro_batch: int | None,
    tensorboard: bool,
    wandb: bool,
    dry_run: bool,
    make_backend: BackendMaker,
) -> int:
    """Train a model on a data set, or continue a run.

    \b
    Examples:
        hrm train sudoku-4x4 --data data/sudoku-4x4 --run runs/small
        hrm train --run runs/small --resume
    """
    from hrm_core.backend import Replica
    from hrm_core.runs.run import Follower, Run
    from hrm_core.training import session
    from hrm_core.training.fit import Interrupted
    from hrm_core.training.report import ConsoleReporter, Reporters

    if resume and max_updates is not None:
        raise click.UsageError(NO_CHANGES)
    settings = _config(config, run_directory, overrides, init, resume)
    if micro_batch is not None:
        settings = _with_micro_batch(settings, micro_batch)
    make_backend = replace(make_backend, micro_batch=settings.train.micro_batch_size)
    assignment = session.assign(settings, _data_path(data, settings))
    if max_updates is not None:
        assignment = session.ended_after(assignment, max_updates)
    if dry_run:
        click.echo(_plan(assignment, make_backend))
        return 0
    is_first = Replica.of_environment().rank == 0
    open_run = Run if is_first else Follower
    with open_run(run_directory) as run, ConsoleReporter(assignment.measures) as console:
        reporter = Reporters([])
        recording: AbstractContextManager[object] = nullcontext()
        if is_first:
            others, recording = _recorders(run_directory, settings, tensorboard, wandb)
            reporter = Reporters([console, *others])
        if resume:
            trainer = session.resume(run, assignment, make_backend, reporter)
            if trainer.is_finished and is_first:
                _print_finished(run_directory, assignment.total_updates)
        else:
            model = open_model(init) if init else None
            trainer = session.begin(run, assignment, make_backend, reporter, model)
            if model is not None and is_first:
                _print_growth(model.config, assignment.model)
        try:
            with recording:
                trainer.train()
        except Interrupted:
            if is_first:
                _print_interrupted(run_directory, make_backend)
            return 130
    if is_first:
        click.echo(run_directory)
    return 0


def _recorders(
    run: Path, settings: "RunConfig", tensorboard: bool, wandb: bool
) -> tuple[list["Reporter"], AbstractContextManager[object]]:
    """Return the reporters that were asked for, and what to enter while the run is trained."""
    from hrm_core.training.report import TensorBoardReporter, WandbReporter

    reporters: list[Reporter] = []
    if tensorboard:
        reporters.append(TensorBoardReporter(run / "tensorboard"))
    if not wandb:
        return reporters, nullcontext()
    recorder = WandbReporter(run, settings.model_dump(mode="json"))
    return [*reporters, recorder], recorder


def _print_interrupted(run: Path, make_backend: BackendMaker) -> None:
    """Print how to continue an interrupted run, unless the terminal is closed."""
    again = _resume_command(run, make_backend)
    with suppress(OSError):
        click.echo(f"interrupted; everything is saved. Continue with: {again}", err=True)


def _print_finished(run: Path, num_updates: int) -> None:
    """Print that a run has made all its updates, and how to train its model further."""
    config, name = shlex.quote(str(run / "config.yaml")), shlex.quote(str(run))
    click.echo(
        f"{run} is finished, all {num_updates:,} updates are made; to train its model further, "
        f"begin a new run: hrm train {config} --init {name} --run OTHER --max-updates N",
        err=True,
    )


def _resume_command(run_directory: Path, make_backend: BackendMaker) -> str:
    """Return the command that continues a run in as many processes."""
    from hrm_core.launchers import place

    start = place().command(shlex.quote(str(run_directory)))
    return f"{start} --resume{make_backend.arguments}"


def _with_micro_batch(settings: "RunConfig", micro_batch: int) -> "RunConfig":
    train = settings.train.model_copy(update={"micro_batch_size": micro_batch})
    return settings.model_copy(update={"train": train})


def _config(
    config: str | None,
    run_directory: Path,
    overrides: tuple[str, ...],
    init: Path | None,
    resume: bool,
) -> "RunConfig":
    """Load the settings of the run to resume, or of a new one. Raises: UsageError, HRMError."""
    from hrm_core.config import load_config, preset_names
    from hrm_core.runs.run import run_config

    if not resume:
        if config is None:
            presets = ", ".join(preset_names())
            raise click.UsageError(f"name a preset or a config file; presets: {presets}")
        return load_config(config, overrides)
    if config or overrides or init:
        raise click.UsageError(NO_CHANGES)
    return run_config(run_directory)


def _data_path(data: Path | None, settings: "RunConfig") -> Path:
    if data is not None:
        return data
    if settings.data is None:
        raise click.UsageError("name a data set with --data; `hrm data` makes one")
    return Path(settings.data.path)


def _print_growth(init: "ModelConfig", model: "ModelConfig") -> None:
    """Print how many puzzle identifiers are new, if any are."""
    before, after = init.num_puzzle_identifiers, model.num_puzzle_identifiers
    if after > before:
        click.echo(
            f"the puzzle identifiers of --init are kept, {before:,} of {after:,}; "
            "the others are new and start from zero",
            err=True,
        )


def _plan(assignment: "Assignment", make_backend: BackendMaker) -> str:
    from hrm_core.inference.evaluation import num_examples
    from hrm_core.sizing import evaluations_text, fitting_text, plan_text

    backend = make_backend(assignment.model)
    train, updates = assignment.config.train, assignment.total_updates
    gemm_rate, dtype = backend.gemm_rate(), backend.describe()["dtype"]
    plan = plan_text(assignment.model, train, updates, gemm_rate, dtype)
    own_slots = train.global_batch_size // backend.replica.num_replicas
    own = train.model_copy(update={"global_batch_size": own_slots})
    plan += "\n" + fitting_text(assignment.model, own, dtype, backend.available_memory())
    if assignment.test is None:
        return plan
    num_asked = num_examples(assignment.test, train.eval_examples)
    num_evaluations = assignment.num_evaluations
    return f"{plan}\n{evaluations_text(assignment.model, num_evaluations, num_asked, gemm_rate)}"
