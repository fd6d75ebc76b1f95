"""Options that the builders of data sets of pictures share."""

import math
import re
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field, ValidationError, field_validator, model_validator

from hrm_core.data.label_tables import Named
from hrm_core.errors import DataError
from hrm_core.tasks.building import Count, Flag, Options, Seed, TestShare
from hrm_core.tasks.pictures import MAX_LABELS, PictureSettings

SIZE = re.compile(r"(\d{1,5})(?:x(\d{1,5}))?")
MIN_PATCH = 7  # pixels of a side, if the user does not say
MAX_PATCHES = 196  # of a chunk, likewise
MAX_COPIES = 100


class PictureOptions(Options):
    """Where pictures and labels are, what a model sees of them, and which are kept for the test."""

    things: ClassVar[str] = "pictures"

    images: Annotated[Path | None, Flag("Folder or ZIP file of {things}.", metavar="DIR|ZIP")] = (
        None
    )
    labels: Annotated[
        Path | None,
        Flag(
            "CSV with a line for each picture. Without it the names of folders are the labels.",
            metavar="CSV",
            is_file=True,
        ),
    ] = None
    size: Annotated[
        str,
        Flag("Height and width in pixels.", metavar="N|HxW", show_default=True),
    ] = "28"
    patch: Annotated[
        Count | None,
        Flag(
            "Side of a patch in pixels; if not set, the smallest of at least 7 that leaves at most "
            "196 patches.",
            metavar="N",
        ),
    ] = None
    strips: Annotated[
        Count, Flag("Show each picture in N vertical strips, one a step.", metavar="N")
    ] = 1
    overview: Annotated[bool, Flag("Show the whole picture, made smaller, before the strips.")] = (
        False
    )
    pixels: Annotated[
        bool, Flag("Make each pixel a token, as the published code needs it: slow.")
    ] = False
    fit: Annotated[
        Literal["crop", "stretch"],
        Flag("Way to fit {things} of another shape.", show_default=True),
    ] = "crop"
    balance: Annotated[
        bool, Flag("Repeat training {things} of rare labels, up to 50 times. [default: balance]")
    ] = True
    augment: Annotated[
        int | None,
        Field(ge=0, le=MAX_COPIES),
        Flag(
            "Copies of each training picture, shifted, brighter or darker, of other contrast.",
            metavar="N",
            show_default=True,
        ),
    ] = 0
    flip: Annotated[bool, Flag("Mirror every other copy from left to right.")] = False
    split_by: Annotated[
        Literal["split", "patient", "image"] | None,
        Flag(
            "What decides on the test: the column split, or a draw of patients or of {things}; "
            "if not set, the first of these that there is."
        ),
    ] = None
    test_share: Annotated[
        TestShare,
        Flag("Share that is drawn for the test. [default: 0.2]", metavar="SHARE"),
    ] = 0.2
    test_on: Annotated[
        Literal["val", "test"] | None,
        Flag(
            "Part of the column split to test on, the other stays out; val if there is one, since "
            "the best checkpoint is chosen on it."
        ),
    ] = None
    skip: Annotated[
        bool, Flag("Leave out lines without a picture or without any known label, and count them.")
    ] = False
    seed: Seed = 0

    @field_validator("size")
    @classmethod
    def _is_size(cls, text: str) -> str:
        if not SIZE.fullmatch(text):
            raise ValueError(f"--size {text} is no size; write 28, or 224x112 for height x width")
        return text

    @model_validator(mode="after")
    def _flips_copies(self) -> Any:
        if self.flip and self.augment == 0:
            raise ValueError("--flip mirrors copies; give --augment N too")
        return self

    @property
    def sides(self) -> tuple[int, int]:
        """Height and width."""
        found = SIZE.fullmatch(self.size)
        assert found is not None, "_is_size checks this"
        height, width = found.groups()
        return int(height), int(width or height)

    def settings(self, named: Named, frames: int = 1) -> PictureSettings:
        """Return the settings of the task with these labels. Raises: DataError if they clash."""
        height, width = self.sides
        try:
            return PictureSettings(
                labels=named.labels,
                exclusive=named.exclusive,
                size=(height, width),
                patch=self.patch or _patch(height, width // self.strips),
                strips=self.strips,
                frames=frames,
                overview=self.overview,
                pixels=self.pixels,
                fit=self.fit,
            )
        except ValidationError as error:
            raise DataError(_clash(error)) from error


def _patch(height: int, width: int) -> int:
    """Return the side of patches for a strip: 7 for 28x28, 8 for 64x64, 16 for 224x224.

    It is the smallest divisor of both sides that has at least 7 pixels and leaves at most 196
    patches; if there is none, the largest divisor.
    """
    both = max(math.gcd(height, width), 1)
    divisors = [side for side in range(1, both + 1) if both % side == 0]
    fitting = [
        side
        for side in divisors
        if side >= MIN_PATCH and (height // side) * (width // side) <= MAX_PATCHES
    ]
    return min(fitting, default=both)


def _clash(error: ValidationError) -> str:
    """Write the first error of settings with the option that it is about."""
    first = error.errors()[0]
    if first["type"] == "value_error":
        return str(first["ctx"]["error"])
    name = str(first["loc"][0])
    if first["type"] == "too_long":
        count = len(first["input"])
        return f"{count:,} {name}, expected at most {MAX_LABELS}; leave rare ones out of the table"
    flag = "the labels" if name == "labels" else f"--{name}"
    return f"{flag}: {first['msg']}; found {str(first['input'])[:60]}"
