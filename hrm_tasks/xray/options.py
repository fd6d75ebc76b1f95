"""Options of `hrm data xray`."""

from pathlib import Path
from typing import Annotated, ClassVar, Self

from pydantic import Field, model_validator

from hrm_core.tasks.building import Flag
from hrm_core.tasks.picture_options import MAX_COPIES, PictureOptions


class Options(PictureOptions):
    """Options for X-rays: pictures of other forms, and which findings are asked for."""

    things: ClassVar[str] = "images"

    augment: Annotated[
        int | None,
        Field(ge=0, le=MAX_COPIES),
        Flag(
            "Copies of each training image, shifted, brighter or darker, of other contrast; "
            "8 if not set, or as many as 256 MB hold.",
            metavar="N",
        ),
    ] = None
    npz: Annotated[
        Path | None,
        Flag(
            "Images and labels of MedMNIST instead of --images and --labels.",
            metavar="FILE",
            is_file=True,
        ),
    ] = None
    findings: Annotated[
        str | None,
        Flag(
            "Findings, with commas between; nih: the 14 of ChestX-ray14; all: the 18 of "
            "torchxrayvision; if not set, those that the labels tell of.",
            metavar="NAMES",
        ),
    ] = None

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        if (self.images is None) == (self.npz is None):
            raise ValueError("give either --images DIR|ZIP or --npz FILE")
        if self.npz is not None and self.given("labels", "skip"):
            raise ValueError("--labels and --skip go with --images; an .npz file has its labels")
        return self
