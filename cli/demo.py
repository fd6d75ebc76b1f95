"""`hrm demo`: from generated puzzles to a model that solves unseen ones."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from hrm_core.backends import BackendMaker

from .options import DIRECTORY, backend_options, open_model, seed_option
from .progress import showing

if TYPE_CHECKING:
    from hrm_core.config import RunConfig
    from hrm_core.inference.solution import Solution
    from hrm_core.runs.run import Run
    from hrm_core.training.fit import Assignment

TASK, PRESET = "sudoku", "sudoku-4x4"
NUM_TRAIN, NUM_TEST, GIVENS, AUGMENT = 2000, 1000, (4, 8), 31
NUM_TRIED = 100  # test puzzles that those to show are chosen from
EVERY = 5.0  # seconds between two lines of what takes long


@click.command()
@click.option(
    "--run", "run_directory", type=DIRECTORY, default=Path("runs/demo"), show_default=True
)
@click.option("--max-updates", type=click.IntRange(1), help="Train for fewer updates.")
@seed_option
@backend_options
def demo(
    run_directory: Path, max_updates: int | None, seed: int, make_backend: BackendMaker
) -> int:
    """Train on 4x4 Sudoku, measure on puzzles equivalent to no training puzzle, and show some of them.

    A run that was interrupted goes on; one that is finished is only shown.

    \b
    Example:
        hrm demo
    """
    from hrm_core.training.fit import Interrupted

    data = run_directory / "data"
    try:
        assignment = _train(run_directory, data, seed, max_updates, make_backend)
    except Interrupted:
        again = f"hrm demo --run {run_directory}{make_backend.arguments}"
        click.echo(f"interrupted; everything is saved. Continue with: {again}", err=True)
        return 130
    _show(run_directory, assignment, make_backend)
    return 0


def _train(
    run_directory: Path, data: Path, seed: int, max_updates: int | None, make_backend: BackendMaker
) -> "Assignment":
    """Build the data and train, unless an earlier call has."""
    from hrm_core.runs.run import Run
    from hrm_core.tasks.registry import builder
    from hrm_core.training import session
    from hrm_core.training.report import ConsoleReporter

    if not data.exists():
        doing = f"generating {NUM_TRAIN:,} puzzles to train on and {NUM_TEST:,} to test with"
        click.echo(doing, err=True)
        task = builder(TASK)
        options = task.Options(
            generate=NUM_TRAIN, size=4, test=NUM_TEST, givens=GIVENS, augment=AUGMENT, seed=seed
        )
        with showing(doing, every=EVERY) as advance:
            advance(0)
            task.build(data, options)
    with Run(run_directory) as run, ConsoleReporter() as reporter:
        config = _config(run, seed, max_updates)
        assignment = session.assign(config, data)
        if max_updates and not run.exists:
            assignment = session.ended_after(assignment, max_updates)
        start = session.resume if run.exists else session.begin
        start(run, assignment, make_backend, reporter).train()
    return assignment


def _config(run: "Run", seed: int, max_updates: int | None) -> "RunConfig":
    """Return the config of the run, or that of a new one. Raises: RunError if they differ."""
    from hrm_core.config import load_config
    from hrm_core.errors import RunError
    from hrm_core.runs.run import run_config

    if not run.exists:
        return load_config(PRESET, [f"train.seed={seed}"])
    config = run_config(run.directory)
    found = config.train
    if found.seed != seed or max_updates not in (None, found.max_updates):
        settings = f"--seed {found.seed} --max-updates {found.max_updates}"
        raise RunError(
            f"{run.directory} holds a demo with other settings ({settings}); choose another --run"
        )
    return config


def _show(run_directory: Path, assignment: "Assignment", make_backend: BackendMaker) -> None:
    """Measure the model, halting by q, and show test puzzles: solved ones, and one that is not."""
    from hrm_core.inference.evaluation import InferenceOptions, evaluate
    from hrm_core.inference.solving import Solver
    from hrm_core.pictures.animations import save_gif

    model, task, test = open_model(run_directory), assignment.task, assignment.test
    assert task is not None, "the demo builds its own data"
    assert test is not None, "the demo builds its own data"
    backend = make_backend(model.config)
    backend.load_weights(model.weights)
    by_q = InferenceOptions(halt="q")
    predictions, _ = evaluate(backend, test, task, batch_size=250, options=by_q)
    inputs = test.sets["all"].inputs[:NUM_TRIED]
    shown = chosen(Solver(backend, task).solve_tokens(inputs, halt="q"))
    for solution in shown:
        click.echo(_described(solution))
    _print_scores(task.measure(predictions))
    gif = run_directory / "thinking.gif"
    save_gif(shown[0].frames(), gif)
    click.echo(f"run    {run_directory}\nGIF    {gif}\ncurve  {_draw_curve(run_directory)}")


def chosen(solutions: Sequence["Solution"]) -> list["Solution"]:
    """Choose the hardest puzzle that was solved, the first of the others, and the first failure."""
    solved = [solution for solution in solutions if solution.accepted]
    failed = [solution for solution in solutions if not solution.accepted]
    solved.sort(key=lambda solution: solution.settled_step, reverse=True)  # stable
    return [*solved[:1], *solved[-1:], *failed[:1]] if len(solved) > 1 else [*solved, *failed[:1]]


def _described(solution: "Solution") -> str:
    """Format a puzzle, its answer and the verdict of the rules."""
    steps = f"settled after step {solution.settled_step} of {len(solution.answers)}"
    verdict = solution.verdict
    if not solution.accepted:
        verdict = f"{verdict}, {solution.conflicts.sum()} cells in conflict"
    return f"{solution.text_of(solution.question)}\n\n{steps}, {verdict}:\n{solution}\n"


def _print_scores(values: Mapping[str, float]) -> None:
    from .tables import print_table

    rows = [
        ["puzzles", f"{values['count']:,}"],
        ["solved exactly", f"{values['exact_accuracy']:.1%}"],
        ["blank cells right", f"{values['blank_accuracy']:.2%}"],
        ["settled after ACT step", f"{values['settled_step']:.2f} on average"],
    ]
    print_table("Unseen puzzles", ["", ""], rows)
    click.echo(
        "No test puzzle is equivalent to a training puzzle under any symmetry of the board. "
        "A 4x4 board has only 288 solutions,\n"
        "all of which occur in training: what is new here is the givens.\n"
    )


def _draw_curve(run_directory: Path) -> str:
    from hrm_core.errors import BackendError
    from hrm_core.inference.pages import draw_curves

    curve = run_directory / "curve.png"
    try:
        draw_curves([run_directory], curve)
    except BackendError as error:
        return f"not drawn: {error}"
    return str(curve)
