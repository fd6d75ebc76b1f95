"""`hrm analyze`: measure how a model thinks, and draw it."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from .options import (
    DIRECTORY,
    MODEL,
    backend_options,
    json_option,
    open_model,
    print_warning,
    read_stdin,
    seed_option,
    steps_option,
)
from .progress import showing

if TYPE_CHECKING:
    from hrm_analysis.study import Study
    from hrm_core.inference.slots import Questions
    from hrm_core.runs.checkpoint import Model
    from hrm_core.tasks.contract import Task


@dataclass(frozen=True)
class AnalyzeOptions:
    """Options of `hrm analyze`, as typed."""

    data: Path | None
    split: str
    identifier: str
    out: Path
    limit: int
    seed: int
    max_steps: int | None
    batch_size: int
    control: Any
    figures: str
    svg: bool


@click.command()
@click.argument("model", type=MODEL)
@click.argument("puzzles", metavar="[PUZZLE...]", nargs=-1)
@click.option(
    "--out", type=DIRECTORY, required=True, help="Folder to write; it must be new or empty."
)
@click.option("--data", type=DIRECTORY, help="Data set; the one the run was trained on if not set.")
@click.option("--split", type=click.Choice(["train", "test"]), default="test", show_default=True)
@click.option(
    "--limit",
    type=click.IntRange(2),
    default=100,
    show_default=True,
    help="Puzzles to draw from the data set, by --seed.",
)
@click.option(
    "--figures",
    default="",
    metavar="NAMES",
    help="Only these, with commas between: residuals, trajectories, dimension, answers, modes, "
    "landscape, halting.  [default: all]",
)
@click.option(
    "--control",
    type=click.Choice(["untrained", "shuffled"]),
    help="Measure a control instead. untrained: the same network with initial weights. shuffled: "
    "the states of all puzzles exchanged at each cycle.",
)
@click.option(
    "--identifier", default="", metavar="NAME", help="Ask each PUZZLE as this trained one."
)
@click.option("--batch-size", type=click.IntRange(1), default=32, show_default=True)
@click.option("--svg", is_flag=True, help="Also write each chart as SVG.")
@steps_option
@seed_option
@json_option
@backend_options
def analyze(
    model: Path,
    puzzles: tuple[str, ...],
    as_json: bool,
    make_backend: Callable[..., Any],
    **typed: Any,
) -> None:
    """Measure how a model thinks: a report with figures and all their numbers. PUZZLE is as in hrm solve; without one, a data set is asked.

    \b
    Examples:
        hrm analyze runs/small --out analysis
        hrm analyze sudoku-9x9 --data data/9x9 --limit 200 --out analysis
        hrm analyze sudoku-9x9 puzzles.txt --figures residuals,answers --out analysis
    """
    from hrm_analysis.report import analyze as measured
    from hrm_analysis.report import check_out
    from hrm_core.inference.slots import check_steps
    from hrm_core.pictures.charts import empty_panels

    options = AnalyzeOptions(**typed)
    names = _chosen_figures(options.figures)
    check_out(options.out)
    empty_panels()  # a missing package is said now
    if puzzles and options.data:
        raise click.UsageError("puzzles and --data are both given; leave out one of them")
    loaded = open_model(model)
    check_steps(options.max_steps, loaded.config)
    asked = _typed_puzzles if puzzles else _drawn_puzzles
    task, questions, source = asked(model, loaded, puzzles, options)
    if options.control == "shuffled" and min(len(questions), options.batch_size) < 2:
        raise click.UsageError(
            "--control shuffled exchanges the states of a batch; ask two puzzles or more, "
            "with a --batch-size of 2 or more"
        )
    with showing("analyzing", unit="ACT steps") as advance:
        study = _study(loaded, task, questions, options, make_backend, advance)
        about, facts = _described(study, loaded, source)
        report = measured(study, names, about, facts)
        report.write(options.out, options.svg)
    click.echo(json.dumps(report.record()) if as_json else str(options.out / "report.md"))


def _chosen_figures(typed: str) -> list[str]:
    """Return the names of figures, in the order of the report. Raises: UsageError for an unknown one."""
    from hrm_analysis.report import MEASURES

    names = [name.strip() for name in typed.split(",") if name.strip()]
    for name in names:
        if name not in MEASURES:
            raise click.UsageError(
                f"--figures {name}: no such figure; known: {', '.join(MEASURES)}"
            )
    return [name for name in MEASURES if not names or name in names]


def _typed_puzzles(
    model: Path, loaded: "Model", puzzles: tuple[str, ...], options: AnalyzeOptions
) -> tuple["Task", "Questions", str]:
    """Read the puzzles that were typed."""
    from hrm_analysis.asking import typed_questions
    from hrm_core.runs.identifiers import load_identifiers
    from hrm_core.tasks.registry import require_task

    config = loaded.config
    task = require_task(config.vocab_size, config.seq_len, loaded.task, str(loaded.source))
    identifiers = load_identifiers(model, config.num_puzzle_identifiers)
    questions = typed_questions(task, config, identifiers, puzzles, read_stdin, options.identifier)
    return task, questions, f"{len(questions):,} puzzles as typed"


def _drawn_puzzles(
    model: Path, loaded: "Model", puzzles: tuple[str, ...], options: AnalyzeOptions
) -> tuple["Task | None", "Questions", str]:
    """Draw puzzles from the data set."""
    from hrm_analysis.asking import drawn_questions
    from hrm_core.data.store import Dataset
    from hrm_core.inference.answering import open_for_models, recorded_data
    from hrm_core.inference.evaluation import num_examples

    if options.identifier:
        raise click.UsageError("--identifier is for puzzles that are typed; leave it out")
    dataset = Dataset(options.data) if options.data else recorded_data([model], print_warning)
    split, task = open_for_models(dataset, options.split, [model], [loaded])
    questions = drawn_questions(split, options.limit, options.seed)
    whole = f"{num_examples(split):,} {options.split} examples of {dataset.directory}"
    return task, questions, f"{len(questions):,} of {whole}, seed {options.seed}"


def _study(
    loaded: "Model",
    task: "Task | None",
    questions: "Questions",
    options: AnalyzeOptions,
    make_backend: Callable[..., Any],
    advance: Callable[[int], None],
) -> "Study":
    from hrm_analysis.study import Study

    return Study(
        make_backend,
        loaded.config,
        loaded.weights,
        task,
        questions,
        options.max_steps or loaded.config.halt_max_steps,
        options.control,
        options.seed,
        options.batch_size,
        advance,
    )


def _described(study: "Study", loaded: "Model", source: str) -> tuple[list[str], dict[str, Any]]:
    """Say what was measured. Returns: lines of Markdown, and the same for numbers.json."""
    from hrm_core.parameters import num_trainable

    config, device = study.config, study.backend.describe()
    cycles = f"H_cycles={config.H_cycles}, L_cycles={config.L_cycles}"
    facts = {
        "model": str(loaded.source),
        "parameters": num_trainable(config),
        "puzzles": source,
        "num_puzzles": len(study.questions),
        "steps": study.num_steps,
        "H_cycles": config.H_cycles,
        "L_cycles": config.L_cycles,
        "control": study.control,
        "seed": study.seed,
        "backend": device,
    }
    lines = [
        f"- Model: {loaded.source}, {facts['parameters']:,} parameters",
        f"- {study.things.capitalize()}: {source}",
        f"- ACT steps: {study.num_steps}, of {cycles}; a cycle of H follows every {config.L_cycles} of L",
        f"- Computed with {device['backend']} in {device['dtype']} on {device['device']}",
    ]
    if study.control:
        lines.append(f"- **Control: {study.control}.** All figures are of it, not of the model")
    return lines, facts
