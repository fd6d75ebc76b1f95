"""Options of a task's predictions as fields of a form, and texts from the form as options."""

from collections.abc import Mapping
from pathlib import Path
from types import NoneType
from typing import Annotated, Any, get_args, get_origin

from pydantic import TypeAdapter, ValidationError
from pydantic.fields import FieldInfo

from hrm_core.config import validated
from hrm_core.errors import ConfigError
from hrm_core.tasks.building import Argument, Flag, Options

SOURCE = "the options"


def described_options(options: type[Options]) -> list[dict[str, Any]]:
    """Return name, help and default of each option but paths: files stay on this machine."""
    return [
        {
            "name": name,
            "help": _help(field, options),
            "default": None if field.is_required() else field.default,
            "is_flag": _kind(field.annotation) is bool,
        }
        for name, field in options.model_fields.items()
        if not _is_path(field)
    ]


def read_options(options: type[Options], texts: Mapping[str, str]) -> Options:
    """Make options of the texts that were typed; an empty text is none.

    Raises: ConfigError naming what does not fit.
    """
    typed: dict[str, Any] = {}
    for name, text in texts.items():
        field = options.model_fields.get(name)
        if field is None or _is_path(field):
            known = ", ".join(each["name"] for each in described_options(options))
            raise ConfigError(f"{SOURCE}: unknown {name[:40]!r} (known: {known})")
        if text:
            typed[name] = _value(name, field, text)
    return validated(options, typed, SOURCE)


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
    notes = [*field.metadata, *getattr(field.annotation, "__metadata__", ())]
    looks = [note for note in notes if isinstance(note, Flag | Argument)]
    text = looks[0].help if looks and isinstance(looks[0], Flag) else ""
    return text.replace("{things}", options.things)
