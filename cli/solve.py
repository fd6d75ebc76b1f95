"""`hrm solve`: solve puzzles with a trained model."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from .options import (
    DIRECTORY,
    FILE,
    MODEL,
    backend_options,
    digits_option,
    drawn_task,
    json_option,
    open_model,
    read_stdin,
    steps_option,
    write_then_show,
)
from .progress import showing

if TYPE_CHECKING:
    from hrm_core.inference.solution import Solution
    from hrm_core.inference.watching import Moment


@click.command()
@click.argument("model", type=MODEL)
@click.argument("puzzles", metavar="PUZZLE...", nargs=-1, required=True)
@click.option(
    "--halt",
    type=click.Choice(["q", "fixed"]),
    help="q: think until q_halt > q_continue. fixed: take all ACT steps, "
    "as the published evaluation does.  [default: q]",
)
@steps_option
@click.option(
    "--identifier",
    default="",
    metavar="NAME",
    help="Ask as this puzzle that the model was trained on; blank: as none of them.",
)
@click.option(
    "--data",
    type=DIRECTORY,
    help="Data set the model was trained on, where it does not know its puzzles by name.",
)
@click.option(
    "--votes",
    type=click.IntRange(1),
    help="Choose from so many answers, under symmetries. "
    "[default: 1; ARC, under augmentations: 100]",
)
@click.option(
    "--gif",
    type=FILE,
    help="Draw the board from ACT step to ACT step; of several puzzles the first.",
)
@click.option("--png", type=FILE, help="Draw questions and answers on one page.")
@digits_option
@json_option
@backend_options
def solve(
    model: Path,
    puzzles: tuple[str, ...],
    halt: Any,
    max_steps: int | None,
    identifier: str,
    data: Path | None,
    votes: int | None,
    gif: Path | None,
    png: Path | None,
    digits: bool,
    as_json: bool,
    make_backend: Callable[..., Any],
) -> int:
    """Solve puzzles: each a puzzle itself, a file of them, or "-" for stdin. The exit status is 1 if the rules refuse an answer.

    An ARC task is asked as the one that its file is named after, and the known solution of a test input judges the attempts.

    \b
    Examples:
        hrm solve runs/demo "1... ..2. .3.. ...4"
        hrm solve runs/demo puzzles.txt --votes 9 --gif thinking.gif
        hrm solve runs/demo puzzles.txt --halt fixed --steps 32
        hrm solve runs/arc 007bbfb7.json
        hrm solve runs/mine question.txt --identifier mirror
    """
    from hrm_core.files import check_writable
    from hrm_core.inference.reading import read_puzzles
    from hrm_core.inference.records import solution_record
    from hrm_core.inference.slots import check_halt
    from hrm_core.inference.solving import Solver
    from hrm_core.runs.identifiers import load_identifiers
    from hrm_core.tasks.registry import require_task

    for path, suffix in ((gif, ".gif"), (png, ".png")):
        if path is not None:
            check_writable(path, suffix)
    loaded = open_model(model)
    sizes = loaded.config.sizes
    task: Any = require_task(sizes.vocab_size, sizes.seq_len, loaded.task, str(loaded.source))
    if digits or gif or png:
        task = drawn_task(task, digits, model)
    identifiers = load_identifiers(model, loaded.config.num_puzzle_identifiers, data)
    asked = read_puzzles(task, puzzles, read_stdin)
    if halt:
        check_halt(halt, loaded.config)
    backend = make_backend(loaded.config)
    backend.load_weights(loaded.weights)
    solver = Solver(backend, task, identifiers)
    doing = f"solving {len(asked):,} puzzle{'s' if len(asked) > 1 else ''}"
    with showing(doing, unit="ACT steps") as advance:

        def watch(moment: "Moment") -> None:
            advance(moment.num_thinking)

        solutions = solver.solve_puzzles(asked, halt, identifier, votes, max_steps, watch)

    def show() -> None:
        for number, solution in enumerate(solutions):
            if as_json:
                click.echo(json.dumps(solution_record(solution, max_steps)))
                continue
            if number:
                click.echo()
            click.echo(_described(solution, identifiers.count > 1))

    write_then_show(_pictures(solutions, gif, png), show)
    is_refused = [solution.accepted is False for solution in solutions]
    return int(any(is_refused))


def _pictures(
    solutions: list["Solution"], gif: Path | None, png: Path | None
) -> list[Callable[[], None]]:
    """Return a function for each picture that was asked for, which draws it."""
    from hrm_core.inference.pages import solutions_sheet
    from hrm_core.pictures.animations import save_gif, save_png

    drawn: list[Callable[[], None]] = []
    if gif is not None:
        drawn.append(lambda: save_gif(solutions[0].frames(), gif))
    if png is not None:
        drawn.append(lambda: save_png(solutions_sheet(solutions), png))
    return drawn


def _described(solution: "Solution", tells_identifier: bool) -> str:
    """Format a solution, or its attempts, and the verdict for a person."""
    lines = [str(solution)]
    if len(solution.attempts) > 1 or solution.num_identifiers > 1:
        lines = _attempts(solution)
    if tells_identifier:
        lines.append(_asked_under(solution))
    if solution.num_answers > 1 and not solution.attempts:
        lines.append(f"given by {solution.num_agreeing:,} of {solution.num_answers:,} answers")
    return "\n".join([*lines, f"{solution.judgement}; {solution.settled} taken"])


def _asked_under(solution: "Solution") -> str:
    from hrm_core.runs.identifiers import BLANK

    if solution.identifier == BLANK:
        return "asked under the blank identifier"
    if solution.num_identifiers == 1:
        return f"asked under the identifier of {solution.identifier}"
    return f"asked under {solution.num_identifiers:,} identifiers of {solution.identifier}"


def _attempts(solution: "Solution") -> list[str]:
    """Format each attempt with its votes."""
    of = f"of {solution.num_identifiers:,} answers"
    drawn = []
    for number, attempt in enumerate(solution.attempts, start=1):
        votes = f"{attempt.count:,} {of}, confidence {attempt.confidence:.0%}"
        drawn.append(f"attempt {number}: {votes}\n{solution.text_of(attempt.answer)}")
    return drawn or [f"no attempt: none {of} has a grid"]
