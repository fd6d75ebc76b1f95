"""Options of `hrm data arc`."""

from pathlib import Path
from typing import Annotated, ClassVar, Self

from pydantic import Field, model_validator

from hrm_core.tasks import building
from hrm_core.tasks.building import Argument, Count, Flag, Seed
from hrm_tasks.arc.canvas import SIDE, SMALLEST


class Options(building.Options):
    """Tasks of a new data set or to add to one, and their augmentations."""

    things: ClassVar[str] = "tasks"

    more: Annotated[tuple[Path, ...], Argument(metavar="[PATH]...")] = ()
    tasks: Annotated[
        tuple[Path, ...],
        Flag("Folders, zips or files of task JSON; several may follow.", metavar="PATH..."),
    ] = ()
    add: Annotated[
        tuple[Path, ...],
        Flag("Add tasks to a data set that is built; several may follow.", metavar="PATH..."),
    ] = ()
    augment: Annotated[
        int,
        Field(ge=0, le=10_000),
        Flag("Augmentations of each task, where it has so many. [default: 1000]", metavar="N"),
    ] = 1000
    canvas: Annotated[
        int,
        Field(ge=SMALLEST, le=SIDE),
        Flag(
            "Side of the canvas; tasks with a larger grid are left out. [default: 30]",
            metavar="N",
        ),
    ] = SIDE
    subsample: Annotated[Count | None, Flag("Choose N tasks at random.", metavar="N")] = None
    seed: Seed = 0

    @model_validator(mode="after")
    def _new_or_added(self) -> Self:
        if bool(self.tasks) == bool(self.add):
            raise ValueError("give either --tasks PATH… or --add PATH…")
        if self.add and self.given("augment", "canvas", "subsample", "seed"):
            raise ValueError(
                "--augment, --canvas, --subsample and --seed go with --tasks; "
                "added tasks take those of the data set"
            )
        return self

    @property
    def paths(self) -> list[Path]:
        """Return all folders, zips and files in the order in which they are read."""
        return [*self.tasks, *self.add, *self.more]
