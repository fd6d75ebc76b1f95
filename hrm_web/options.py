"""Options of a task's predictions as fields of a form, and texts from the form as options."""

from collections.abc import Mapping
from pathlib import Path
from types import NoneType
from typing import Annotated, Any, get_args, get_origin

from pydantic import TypeAdapter, ValidationError
from pydantic.fields import FieldInfo

from hrm_core.config import validated
from hrm_core.errors import ConfigError
from hrm_core.tasks.building import Flag, Options

SOURCE = "the options"


def described_options(options: type[Options]) -> list[dict[str, Any]]:
    """Return name, help and default of each option on offer."""
    return [
        {
            "name": name,
            "help": _help(field, options),
            "default": None if field.is_required() else field.default,
            "is_flag": _kind(field.annotation) is bool,
        }
        for name, field in _offered(options).items()
    ]


def read_options(options: type[Options], texts: Mapping[str, str]) -> Options:
    """Make options of the texts that were typed; an empty text is none.

    Raises: ConfigError naming what does not fit.
    """
    typed: dict[str, Any] = {}
    for name, text in texts.items():
        field = _offered(options).get(name)
        if field is None:
            known = ", ".join(_offered(options)) or "none"
            raise ConfigError(f"{SOURCE}: unknown {name[:40]!r} (known: {known})")
        if text:
            typed[name] = _value(name, field, text)
    return validated(options, typed, SOURCE)


def _offered(options: type[Options]) -> dict[str, FieldInfo]:
    """Return each option but paths, and what only serves them: files stay on this machine."""
    fields = options.model_fields
    paths = [name for name, field in fields.items() if _is_path(field)]
    found = {}
    for name, field in fields.items():
        flag = _flag(field)
        if name not in paths and (flag is None or flag.serves not in paths):
            found[name] = field
    return found


def _value(name: str, field: FieldInfo, text: str) -> Any:
    """Read one value. Raises: ConfigError."""
    try:
        return TypeAdapter(_kind(field.annotation)).validate_strings(text)
    except ValidationError as error:
        message = error.errors(include_url=False)[0]["msg"]
        raise ConfigError(f"{SOURCE}: {name}: found {text[:40]!r}; {message}") from error


def _kind(annotation: Any) -> Any:
    """Remove `Annotated` and `| None` from a type."""
    inside = [each for each in get_args(annotation) if each is not NoneType]
    if get_origin(annotation) is Annotated:
        return _kind(inside[0])
    if NoneType in get_args(annotation) and len(inside) == 1:
        return _kind(inside[0])
    return annotation


def _is_path(field: FieldInfo) -> bool:
    return _kind(field.annotation) is Path


def _help(field: FieldInfo, options: type[Options]) -> str:
    flag = _flag(field)
    return "" if flag is None else flag.help.replace("{things}", options.things)


def _flag(field: FieldInfo) -> Flag | None:
    notes = [*field.metadata, *getattr(field.annotation, "__metadata__", ())]
    return next((note for note in notes if isinstance(note, Flag)), None)
