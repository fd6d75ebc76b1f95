"""Options of `hrm data sequences`."""

from pathlib import Path
from typing import Annotated, Any, ClassVar

from pydantic import Field, model_validator

from hrm_core.tasks import building
from hrm_core.tasks.building import Argument, Flag, Seed, TestShare


class Options(building.Options):
    """Source of the sequences, the share that is not trained on, and the windows."""

    things: ClassVar[str] = "sequences"

    source: Annotated[Path, Argument()]
    test: Annotated[
        Path | None,
        Flag("Test {things}; without it a share of SOURCE is drawn for them.", is_file=True),
    ] = None
    test_share: Annotated[
        TestShare,
        Flag("Share of the {things} that is not trained on. [default: 0.1]", metavar="SHARE"),
    ] = 0.1
    seq_len: Annotated[
        int | None,
        Field(ge=2, le=1 << 14),
        Flag(
            "Tokens of a window, context included; if not set, those of the longest training "
            "sequence, at most 128.",
            metavar="N",
        ),
    ] = None
    unknown: Annotated[
        int | None,
        Field(ge=2),
        Flag(
            "Turn what occurs fewer than N times in training, and what only the test has, into "
            "one token.",
            metavar="N",
        ),
    ] = None
    seed: Seed = 0

    @model_validator(mode="before")
    @classmethod
    def _one_test(cls, given: dict[str, Any]) -> dict[str, Any]:
        if {"test", "test_share"} <= given.keys():
            raise ValueError("give either --test or --test-share")
        return given
