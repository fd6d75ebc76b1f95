"""`hrm solve`: solve puzzles with a trained model."""

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from cli.models import open_model
from cli.options import DIRECTORY, FILE, backend_options, json_option

if TYPE_CHECKING:
    from hrm_core.training.solving import Solution


@click.command()
@click.argument("model", type=DIRECTORY)
@click.argument("puzzles", metavar="PUZZLE...", nargs=-1, required=True)
@click.option(
    "--halt",
    type=click.Choice(["q", "fixed"]),
    default="q",
    show_default=True,
    help="q: think until q_halt > q_continue. fixed: take all ACT steps, as the published evaluation does.",
)
@click.option("--gif", type=FILE, help="Draw the board from ACT step to ACT step; of several puzzles the first.")
@click.option("--png", type=FILE, help="Draw questions and answers on one page.")
@json_option
@backend_options
def solve(
    model: Path,
    puzzles: tuple[str, ...],
    halt: Any,
    gif: Path | None,
    png: Path | None,
    as_json: bool,
    make_backend: Callable[..., Any],
) -> int:
    """Solve puzzles: each a puzzle itself, a file of them, or "-" for stdin. The exit status is 1 if the rules refuse an answer.

    \b
    Examples:
        hrm solve runs/demo "1... ..2. .3.. ...4"
        hrm solve runs/demo puzzles.txt --gif thinking.gif
    """
    from hrm_core.tasks import require_task
    from hrm_core.training.solving import Solver, read_puzzles

    loaded = open_model(model)
    task = require_task(loaded.config.vocab_size, loaded.config.seq_len, loaded.task, str(loaded.source))
    questions = read_puzzles(task, puzzles, sys.stdin.read)
    if loaded.config.num_puzzle_identifiers > 1:
        click.echo("note: asked under the blank puzzle identifier; under their own, trained ones puzzles are asked by hrm eval", err=True)
    backend = make_backend(loaded.config)
    backend.load_weights(loaded.weights)
    solutions = Solver(backend, task).solve_tokens(questions, halt)
    for i, solution in enumerate(solutions):
        click.echo(json.dumps(_record(solution)) if as_json else ("\n" if i else "") + _described(solution))
    _draw(solutions, gif, png)
    return 0 if all(solution.accepted is not False for solution in solutions) else 1


def _draw(solutions: list["Solution"], gif: Path | None, png: Path | None) -> None:
    from hrm_core.pictures.animations import save_gif, save_png
    from hrm_core.training.sheets import solutions_sheet

    if gif is not None:
        save_gif(solutions[0].frames(), gif)
    if png is not None:
        save_png(solutions_sheet(solutions), png)


def _described(solution: "Solution") -> str:
    return f"{solution}\n{solution.verdict}; settled after ACT step {solution.settled_step} of {len(solution.answers)} taken"


def _record(solution: "Solution") -> dict[str, Any]:
    return {
        "question": solution.task.line(solution.question),
        "answer": solution.task.line(solution.answer),
        "accepted": solution.accepted,
        "verdict": solution.verdict,
        "steps": len(solution.answers),
        "settled_step": solution.settled_step,
        "q_halt": [round(float(value), 4) for value in solution.q_halt_logits],
    }
