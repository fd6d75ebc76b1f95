"""`hrm convert`: published checkpoints into ours and back, and models into other shapes."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from .options import DIRECTORY, FILE, json_option, seed_option
from .progress import showing

if TYPE_CHECKING:
    from hrm_convert.conversion import Conversion, Request

    from hrm_parity.checks import Factory
    from hrm_parity.models import Comparison


@click.command()
@click.argument("source")
@click.argument("dest", type=DIRECTORY)
@click.option(
    "--to",
    type=click.Choice(["official", "safetensors", "checkpoint"]),
    help="What to write; DEST says it where it can.",
)
@click.option(
    "--dtype",
    type=click.Choice(["float32", "bfloat16", "float16"]),
    default="float32",
    show_default=True,
    help="Of the weights.",
)
@click.option("--force", is_flag=True, help="Replace DEST if it is there.")
@click.option(
    "--verify",
    is_flag=True,
    help="Run both models on random inputs and compare; exit status 1 if they differ.",
)
@click.option(
    "--vocab-size",
    type=click.IntRange(1, 2**20),
    metavar="N",
    help="Another vocabulary: rows kept, cut or drawn from the seed.",
)
@click.option(
    "--seq-len",
    type=click.IntRange(1, 2**20),
    metavar="N",
    help="Another sequence length; that of SOURCE where it has no record of it.",
)
@click.option(
    "--positions",
    type=click.Choice(["auto", "cut", "interpolate"]),
    default="auto",
    show_default=True,
    help="Learned positions; auto cuts to fewer and interpolates to more.",
)
@click.option(
    "--identifiers",
    type=FILE,
    help="Another set of puzzles: its identifiers.json; vectors are matched by name.",
)
@click.option(
    "--source-identifiers",
    type=FILE,
    help="The identifiers.json that SOURCE was trained with, if it is not found.",
)
@click.option(
    "--mean-of",
    multiple=True,
    metavar="NAME,NAME…",
    help="Start new puzzle vectors from the mean of these; NAME* is all that begin so.",
)
@click.option(
    "--data",
    type=DIRECTORY,
    help="Take sizes, tokens and puzzle identifiers from this data set; tokens are matched by text.",
)
@click.option(
    "--set",
    "overrides",
    multiple=True,
    metavar="KEY=VALUE",
    help="Change a setting that leaves all tensors as they are, e.g. --set model.attention=causal.",
)
@seed_option
@json_option
def convert(
    source: str, dest: Path, verify: bool, as_json: bool, mean_of: tuple[str, ...], **wishes: Any
) -> int:
    """Convert a run, a checkpoint, a safetensors file or a published checkpoint, here or on the Hub, into another of these forms.

    \b
    Examples:
        hrm convert hf://sapientinc/HRM-checkpoint-sudoku-extreme models/sudoku-extreme
        hrm convert runs/small small.safetensors --dtype bfloat16
        hrm convert runs/small published/small --to official --verify
    """
    from hrm_convert.conversion import Request
    from hrm_convert.conversion import convert as convert_model

    from hrm_core.runs.shipped import shipped_model

    source = str(shipped_model(source) or source)  # before DEST may be called so
    names = tuple(name for text in mean_of for name in text.split(",") if name)
    request = Request(mean_of=names, verify=verify, **wishes)
    make = _backend() if verify else None  # before anything is written
    with showing("converting"):
        done = convert_model(source, dest, request)
    if not as_json:
        click.echo("\n".join(done.report.lines()))
    with showing("verifying"):
        comparison = _verified(source, dest, request, done, make) if make else None
    if as_json:
        verified = {"verified": comparison.plain()} if comparison else {}
        click.echo(json.dumps({**done.report.plain(), **verified}))
    elif comparison:
        click.echo("\n".join(comparison.lines()))
    if comparison is None:
        return 0
    return int(comparison.differs)


def _backend() -> "Factory":
    from hrm_core.backends import installed_backend
    from hrm_parity.checks import backend_named

    return backend_named(installed_backend())


def _verified(
    source: str, dest: Path, request: "Request", done: "Conversion", make: "Factory"
) -> "Comparison":
    from hrm_convert.sources import read_model

    from hrm_parity.models import compare_models

    before, after = read_model(source, request.seq_len), read_model(str(dest))
    rows = done.identifiers.rows if done.identifiers else None
    return compare_models(
        before,
        after,
        make,
        dtype=request.dtype,
        identifiers=rows,
        tokens=done.tokens,
        seed=request.seed,
    )
