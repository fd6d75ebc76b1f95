"""`hrm parity`: check that this machine computes the numbers of the published code."""

import json
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import click
from click.core import ParameterSource

from hrm_core.errors import install_hint

from .options import json_option, seed_option
from .progress import showing

if TYPE_CHECKING:
    from hrm_parity.certify import Certificate
    from hrm_parity.checks import Dtype
    from hrm_parity.pairs import Machine
    from hrm_parity.selftest import SelfTest
    from hrm_parity.sides import Device
    from hrm_parity.training import TrainingReport

WITHOUT_TORCH = "PyTorch is not installed: nothing is compared with it;"
WITHOUT_MLX = "or check PyTorch alone with hrm parity --backend torch"
OPTIONS = {
    "golden": "--golden",
    "backend": "--backend",
    "dtype": "--dtype",
    "updates": "--train",
    "is_self_test": "--self-test",
}
CLASHES = {
    "updates": {
        "is_self_test": "each is a check of its own",
        "golden": "training makes its own puzzles",
        "backend": "both backends are trained",
        "dtype": "both train in float32",
    },
    "is_self_test": {
        "backend": "the mistakes are made in MLX",
        "dtype": "they are looked for in float32",
    },
}


@click.command()
@click.option(
    "--golden",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="A recorded case, or a folder of them.",
)
@click.option(
    "--backend",
    type=click.Choice(["mlx", "torch"]),
    default="mlx",
    show_default=True,
    help="Framework that is checked.",
)
@click.option(
    "--device",
    type=click.Choice(["auto", "gpu", "cpu"]),
    default="auto",
    show_default=True,
    help="Device that is checked.",
)
@click.option(
    "--dtype",
    type=click.Choice(["auto", "float32", "bfloat16", "float64"]),
    default="auto",
    show_default=True,
    help="Of recorded cases; auto: as recorded.",
)
@click.option(
    "--train",
    "updates",
    metavar="N",
    type=click.IntRange(1),
    help="Train both backends side by side for N updates of 4x4 Sudoku.",
)
@seed_option
@click.option(
    "--self-test",
    "is_self_test",
    is_flag=True,
    help="Make one mistake after the other and show what notices it.",
)
@click.option(
    "--report",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Write everything to a JSON file, to be sent in.",
)
@json_option
@click.pass_context
def parity(
    context: click.Context,
    golden: Path | None,
    backend: str,
    device: "Device",
    dtype: "Dtype",
    updates: int | None,
    seed: int,
    is_self_test: bool,
    report: Path | None,
    as_json: bool,
) -> int:
    """Certify this machine: MLX against PyTorch, against float64, and against recorded runs of the published code.

    Exit status 1 says that a limit is broken.

    \b
    Examples:
        hrm parity --report parity.json
        hrm parity --backend torch
        hrm parity --train 1000
        hrm parity --self-test
    """
    from hrm_core.files import check_writable
    from hrm_parity.report import document, write

    from .parity_tables import show

    _check_options(context)
    if report:
        check_writable(report)
    found: Certificate | TrainingReport | SelfTest
    with showing("checking this machine"):
        if updates is not None:
            found = _train(updates, seed, device)
        elif is_self_test:
            found = _self_test(golden, device)
        else:
            found = _certify(golden, backend, device, dtype)
    content = document(_arguments(context), found)
    if report:
        write(report, content)
    if as_json:
        click.echo(json.dumps(content, indent=2))
    else:
        show(found)
    return int(found.broken)


def _check_options(context: click.Context) -> None:
    """Refuse options that clash. Raises: UsageError naming them."""
    for mode, others in CLASHES.items():
        for other, reason in others.items():
            if _is_typed(context, mode) and _is_typed(context, other):
                pair = f"{OPTIONS[mode]} and {OPTIONS[other]}"
                raise click.UsageError(f"{pair} do not go together: {reason}; leave out one")
    if _is_typed(context, "seed") and not _is_typed(context, "updates"):
        raise click.UsageError(
            "--seed is the seed of --train N, all else is drawn from one that never changes; "
            "leave it out"
        )


def _is_typed(context: click.Context, name: str) -> bool:
    return context.get_parameter_source(name) is ParameterSource.COMMANDLINE


def _arguments(context: click.Context) -> list[str]:
    """Return the arguments typed after `hrm parity`."""
    typed: list[str] = []
    for parameter in context.command.params:
        if parameter.name and _is_typed(context, parameter.name):
            value = context.params[parameter.name]
            typed.append(parameter.opts[0])
            if value is not True:
                typed.append(str(value))
    return typed


def _certify(golden: Path | None, backend: str, device: "Device", dtype: "Dtype") -> "Certificate":
    from hrm_parity.certify import certify

    is_compared = golden is None and dtype in ("auto", "float32")
    found = certify(_machine(backend, device), golden, dtype, is_compared and _has_torch(), _say)
    if golden is None and not is_compared:
        _say(
            f"the recorded case was replayed in {dtype}; "
            "leave out --dtype to compare with PyTorch, in float32"
        )
    return found


def _train(updates: int, seed: int, device: "Device") -> "TrainingReport":
    from hrm_parity.training import train_together

    makes = {"MLX": _machine("mlx", device).make, "PyTorch": _machine("torch", device).make}
    return train_together(makes, updates, seed, _say)


def _self_test(golden: Path | None, device: "Device") -> "SelfTest":
    from hrm_parity.golden import carried_cases, find_cases, load_case
    from hrm_parity.selftest import self_test

    folders = [*carried_cases()]
    if golden:
        folders += find_cases(golden)
    cases = {case.name: case for case in map(load_case, folders)}
    return self_test(_machine("mlx", device), cases, _has_torch(), _say)


def _machine(backend: str, device: "Device") -> "Machine":
    """Return the backend to check. Raises: BackendError if its package is missing."""
    from hrm_core.errors import BackendError
    from hrm_parity.pairs import machine_named

    try:
        return machine_named(backend, device)
    except BackendError as error:
        if backend != "mlx":
            raise
        raise BackendError(f"{error}; {WITHOUT_MLX}") from error


def _has_torch() -> bool:
    """Return True if PyTorch is installed to compare with; print that it is missing if not."""
    if find_spec("torch") is None:
        _say(f"{WITHOUT_TORCH} {install_hint('torch')} adds that")
        return False
    return True


def _say(message: str) -> None:
    click.echo(message, err=True)
