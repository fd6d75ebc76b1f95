"""Options of `hrm data grids`."""

import math
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field, field_validator, model_validator

from hrm_core.tasks import building
from hrm_core.tasks.building import Argument, Count, Flag, Seed, Views


class Options(building.Options):
    """Source of the grids, the share that is not trained on, and the canvas."""

    source: Annotated[Path, Argument()]
    test: Annotated[
        Path | None,
        Flag(
            "Test examples; without it a share of SOURCE is drawn for them.",
            metavar="FILE|FOLDER",
        ),
    ] = None
    test_share: Annotated[
        float,
        Field(ge=0, lt=1),
        Flag("Share of the examples that is not trained on. [default: 0.1]", metavar="SHARE"),
    ] = 0.1
    max_size: Annotated[
        tuple[Count, Count] | None,
        Flag("Largest grid there can be; that of the data if not set.", metavar="ROWS COLUMNS"),
    ] = None
    augment: Views = 0
    seed: Seed = 0

    @model_validator(mode="before")
    @classmethod
    def _one_test(cls, given: dict[str, Any]) -> dict[str, Any]:
        if {"test", "test_share"} <= given.keys():
            raise ValueError("give either --test or --test-share")
        return given

    @field_validator("test_share", mode="before")
    @classmethod
    def _is_share(cls, share: float) -> float:
        if math.isnan(share):
            raise ValueError("--test-share nan is no share; try 0.1")
        return share
