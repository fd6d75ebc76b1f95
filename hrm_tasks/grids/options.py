"""Options of `hrm data grids`."""

from pathlib import Path
from typing import Annotated, Any

from pydantic import model_validator

from hrm_core.tasks import building
from hrm_core.tasks.building import Argument, Count, Flag, Seed, TestShare, Views


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
        TestShare,
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
