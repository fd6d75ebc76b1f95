"""Make the options of a builder into parameters of a command, and typed values into options.

See `hrm_core/tasks/building.py`: pydantic types the fields, `Flag` and `Argument` describe how the
command line shows them.
"""

from pathlib import Path
from types import NoneType
from typing import Annotated, Any, Literal, TypeVar, get_args, get_origin

import click
from click.core import ParameterSource
from pydantic import ValidationError
from pydantic.fields import FieldInfo

from hrm_core.tasks.building import Argument, Flag, Options

from .options import DIRECTORY, FILE

Chosen = TypeVar("Chosen", bound=Options)

BOUNDS = ("ge", "gt", "le", "lt")
RANGES: dict[Any, Any] = {int: click.IntRange, float: click.FloatRange}
PLAIN: dict[Any, Any] = {
    int: click.INT,
    float: click.FLOAT,
    str: click.STRING,
    bool: click.BOOL,
}


def parameters(options: type[Options]) -> list[click.Parameter]:
    """Make the parameter of each field, in their order."""
    return [_parameter(options, name, field) for name, field in options.model_fields.items()]


def chosen(options: type[Chosen], context: click.Context) -> Chosen:
    """Make options of the typed values; other fields keep their defaults and count as not set.

    Raises: UsageError with the message of the validator that refused them.
    """
    typed = {
        name: context.params[name]
        for name in options.model_fields
        if context.get_parameter_source(name) is not ParameterSource.DEFAULT
    }
    try:
        return options(**typed)
    except ValidationError as error:
        raise _refusal(error, context) from error


def _refusal(error: ValidationError, context: click.Context) -> click.UsageError:
    first = error.errors()[0]
    if first["type"] == "value_error":  # raised by a validator of the task, which names the flags
        return click.UsageError(str(first["ctx"]["error"]), context)
    name = first["loc"][0]
    (refused,) = (each for each in context.command.params if each.name == name)
    return click.BadParameter(first["msg"], context, refused)


def _parameter(options: type[Options], name: str, field: FieldInfo) -> click.Parameter:
    """Make the parameter of one field."""
    kind, notes = _unwrapped(field.annotation, field.metadata)
    look = next(note for note in notes if isinstance(note, Flag | Argument))
    settings: dict[str, Any] = {"metavar": look.metavar, "required": field.is_required()}
    if get_origin(kind) is tuple:
        items = get_args(kind)
        kind, more = _unwrapped(items[0], [])
        notes += more
        settings |= _repeated(items, look)
    settings["type"] = _click_type(kind, notes)
    if settings["type"] is None:
        where = f"{options.__name__}.{name}"
        raise TypeError(f"{where}: {field.annotation} is no type that a command line can read")
    if isinstance(look, Argument):
        return click.Argument([name], **settings)
    if look.show_default:
        settings |= {"default": field.default, "show_default": True}
    flag = f"--{name.replace('_', '-')}"
    help_text = look.help.replace("{things}", options.things)
    if kind is bool:
        settings["is_flag"] = True
        flag = f"{flag}/--no-{flag[2:]}" if field.default else flag
    return click.Option([flag, name], help=help_text, **settings)


def _unwrapped(annotation: Any, notes: list[Any]) -> tuple[Any, list[Any]]:
    """Remove `Annotated` and `| None` from a type. Returns: the type inside, and all notes on it."""
    notes = list(notes)
    while True:
        inside = [each for each in get_args(annotation) if each is not NoneType]
        if get_origin(annotation) is Annotated:
            annotation, *more = inside
            for note in more:
                notes += note.metadata if isinstance(note, FieldInfo) else [note]
        elif NoneType in get_args(annotation) and len(inside) == 1:
            (annotation,) = inside
        else:
            return annotation, notes


def _repeated(items: tuple[Any, ...], look: Flag | Argument) -> dict[str, Any]:
    """Return the settings of a parameter that takes several values of one type."""
    if items[-1] is not Ellipsis:
        return {"nargs": len(items)}
    return {"nargs": -1} if isinstance(look, Argument) else {"multiple": True}


def _click_type(kind: Any, notes: list[Any]) -> Any:
    """Return the click type that reads a value as pydantic expects it; None if there is none."""
    if get_origin(kind) is Literal:
        return click.Choice(get_args(kind))
    if kind is Path:
        is_file = any(isinstance(note, Flag) and note.is_file for note in notes)
        return FILE if is_file else DIRECTORY
    bounds = _bounds(notes)
    if not bounds or kind not in RANGES:
        return PLAIN.get(kind)
    return RANGES[kind](
        min=bounds.get("ge", bounds.get("gt")),
        max=bounds.get("le", bounds.get("lt")),
        min_open="gt" in bounds,
        max_open="lt" in bounds,
    )


def _bounds(notes: list[Any]) -> dict[str, Any]:
    """Return the bounds of a number by their names in pydantic."""
    bounds: dict[str, Any] = {}
    for note in notes:
        bounds |= {name: getattr(note, name) for name in BOUNDS if hasattr(note, name)}
    return bounds
