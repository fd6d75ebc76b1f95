"""The contract of a part of the analysis: what it measures, its numbers, its words and its pictures."""

import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol, Union

import numpy as np
import numpy.typing as npt
from PIL import Image

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Picture = Union["Figure", Image.Image]

PUZZLES = "puzzles"  # the word for examples that the parts are written with
BAND = 10, 90  # percentiles of a band over puzzles


class Part(Protocol):
    """One measured part."""

    @property
    def title(self) -> str:
        """Return the heading."""
        ...

    @property
    def definition(self) -> str:
        """Return what is measured and drawn."""
        ...

    def numbers(self) -> Mapping[str, Any]:
        """Return all data of the pictures: numbers, arrays, and mappings of them."""
        ...

    def findings(self) -> Sequence[str]:
        """Return lines of Markdown with the numbers that matter."""
        ...

    def pictures(self) -> Mapping[str, Picture]:
        """Draw the pictures, by the names of their files. Raises: BackendError without matplotlib."""
        ...


def band(values: npt.NDArray[Any]) -> dict[str, npt.NDArray[np.floating]]:
    """Mean, 10th and 90th percentile over puzzles. Shapes: (c, N) -> (c,) each."""
    low, high = np.percentile(values, BAND, axis=1)
    return {"mean": values.mean(axis=1), "low": low, "high": high}


def count_cycles(panels: Sequence["Axes"]) -> None:
    """Number the cycles below panels by whole numbers."""
    from matplotlib.ticker import MaxNLocator

    for axes in panels:
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))


def worded(text: str, things: str) -> str:
    """Say a task's own word, "images", in a text about puzzles; one of them is an example."""
    if things == PUZZLES:
        return text
    words = {"puzzles": things, "a puzzle": "an example", "puzzle": "example"}

    def said(found: re.Match[str]) -> str:
        word = words[found[0].lower()]
        return word.capitalize() if found[0][0].isupper() else word

    return re.sub(r"\b(puzzles|a puzzle|puzzle)\b", said, text, flags=re.IGNORECASE)


def table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """Return a table in Markdown."""
    lines = [columns, ["---"] * len(columns), *rows]
    return [f"| {' | '.join(cells)} |" for cells in lines]
