"""`hrm plot`: draw the curves of one or several runs."""

from pathlib import Path

import click

from .options import DIRECTORY, FILE


@click.command()
@click.argument("runs", metavar="RUN...", nargs=-1, required=True, type=DIRECTORY)
@click.option("--out", type=FILE, default=Path("curves.png"), show_default=True)
def plot(runs: tuple[Path, ...], out: Path) -> None:
    """Draw loss, accuracies and ACT steps of one or several runs over each other.

    \b
    Example:
        hrm plot runs/demo runs/small --out curves.png
    """
    from hrm_core.files import check_writable
    from hrm_core.inference.pages import draw_curves

    check_writable(out, ".png")
    draw_curves(runs, out)
    click.echo(str(out))
