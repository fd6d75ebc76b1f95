"""`hrm serve`: a page in the browser that shows a model at work."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from .options import DIRECTORY, MODEL, backend_options, open_model, print_warning

MISSING = "the page needs starlette and uvicorn"


@click.command()
@click.argument("model", type=MODEL, required=False)
@click.option(
    "--port",
    type=click.IntRange(0, 65535),
    default=8000,
    show_default=True,
    help="0: any that is free.",
)
@click.option(
    "--host",
    default="127.0.0.1",
    show_default=True,
    metavar="NAME",
    help="Serve other machines, too: a name or number of this one, or 0.0.0.0.",
)
@click.option(
    "--data",
    type=DIRECTORY,
    help="Data set the model was trained on: its test puzzles are offered.",
)
@backend_options
def serve(
    model: Path | None,
    port: int,
    host: str,
    data: Path | None,
    make_backend: Callable[..., Any],
) -> None:
    """Show a model at work on a page in the browser. Without MODEL it is the one that comes with the package.

    Programs get the same by POST /api/solve.

    \b
    Examples:
        hrm serve
        hrm serve runs/demo --port 8001
        hrm serve runs/arc --data data/arc
    """
    from hrm_core.errors import needs_package

    path = model or _shipped()
    loaded = open_model(path)
    with (
        needs_package("starlette", MISSING, "web"),
        needs_package("uvicorn", MISSING, "web"),
    ):
        from hrm_web.guard import is_local
        from hrm_web.server import listen, make_app
        from hrm_web.server import serve as answer
        from hrm_web.site import Site
        from hrm_web.worker import Worker

    site = Site.of(path, loaded, data)
    with listen(host, port) as opened:
        worker = Worker(lambda: site.solver(make_backend))
        worker.start()
        if not is_local(host):
            print_warning(
                f"everybody who reaches {host} can use this server; "
                "it has no password and no encryption"
            )
        name = f"[{host}]" if ":" in host else host
        address = f"http://{name}:{opened.getsockname()[1]}/"
        click.echo(f"{site.name} is served at {address}; Ctrl-C ends it")
        answer(make_app(site, worker, host), worker, opened)


def _shipped() -> Path:
    """Return the model that comes with the package."""
    from hrm_core.runs.shipped import SHOWN, shipped_models

    return shipped_models()[SHOWN]
