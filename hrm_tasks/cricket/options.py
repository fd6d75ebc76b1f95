"""Options of `hrm data cricket`."""

from datetime import date
from pathlib import Path
from typing import Annotated

from pydantic import Field, field_validator

from hrm_core.tasks import building
from hrm_core.tasks.building import Flag, Seed


class Options(building.Options):
    """Where the matches are, and which of them are kept for the test."""

    things = "innings"

    matches: Annotated[
        Path,
        Flag("Matches as Cricsheet's JSON: a ZIP file, a folder or one file.", metavar="ZIP|DIR"),
    ]
    validate_from: Annotated[
        str | None,
        Flag(
            "Test on the matches from this day on; train on earlier ones. "
            "Without it all are trained on.",
            metavar="DATE",
        ),
    ] = None
    copies: Annotated[
        int,
        Field(ge=1, le=64),
        Flag(
            "Copies of each training innings, with less context: see --forget, --blank.",
            show_default=True,
        ),
    ] = 16
    forget: Annotated[
        float,
        Field(ge=0, le=1),
        Flag("Share of players made unknown in a copy.", metavar="SHARE", show_default=True),
    ] = 0.3
    blank: Annotated[
        float,
        Field(ge=0, lt=1),
        Flag("Share of a copy's context tokens left out.", metavar="SHARE", show_default=True),
    ] = 0.1
    seed: Seed = 0

    @field_validator("validate_from")
    @classmethod
    def _is_date(cls, text: str | None) -> str | None:
        if text is None:
            return None
        try:
            return date.fromisoformat(text).isoformat()
        except ValueError as error:
            raise ValueError(f"--validate-from {text} is no day; write it as 2021-01-01") from error
