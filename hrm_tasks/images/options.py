"""Options of `hrm data images`."""

from pathlib import Path
from typing import Annotated

from hrm_core.tasks.building import Count, Flag
from hrm_core.tasks.picture_options import PictureOptions


class Options(PictureOptions):
    """Options for pictures of any kind: where their labels stand, and how many make an example."""

    images: Annotated[Path, Flag("Folder or ZIP file of {things}.", metavar="DIR|ZIP")]
    columns: Annotated[
        str | None,
        Flag(
            "Columns of labels, with commas between: one of names, or several of 0 and 1; if not "
            "set, one called label, else all of 0 and 1.",
            metavar="NAMES",
        ),
    ] = None
    frames: Annotated[
        Count,
        Flag(
            "Make N pictures an example, one a step: those of a folder, or a GIF or TIFF of "
            "several frames.",
            metavar="N",
        ),
    ] = 1
