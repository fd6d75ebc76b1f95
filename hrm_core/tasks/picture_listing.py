"""The list of pictures beside a data set: which file, and whose, each example is.

`images.csv` has a line for each picture: `example` is the row of its first copy. Without it each
group is a picture of a patient of its own.

Shapes: N pictures.
"""

import csv
from collections.abc import Mapping, Sequence
from io import StringIO
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from hrm_core.data.store import Dataset, ExampleSet, Split
from hrm_core.errors import DataError

FILE = "images.csv"
COLUMNS = ("split", "example", "file", "patient")

IntArray = npt.NDArray[np.integer]


class Listing(NamedTuple):
    """The pictures of a split, in the order of their examples."""

    rows: IntArray  # (N,) example of the first copy of each
    files: Sequence[str]
    patients: IntArray  # (N,) number of the patient
    names: Sequence[str]  # of the patients, by number
    knows_patients: bool

    def first(self, num_examples: int) -> "Listing":
        """Return the pictures among the first examples."""
        count = int(np.searchsorted(self.rows, num_examples))
        return self._replace(
            rows=self.rows[:count], files=self.files[:count], patients=self.patients[:count]
        )


def only_set(split: Split) -> ExampleSet:
    """Return the one set of a split of pictures. Raises: DataError if there are several."""
    if len(split.sets) > 1:
        raise DataError(f"{split.folder} has {len(split.sets)} sets, expected one of pictures")
    return next(iter(split.sets.values()))


def listing(data: Dataset, split: Split) -> Listing:
    """List the pictures of a split.

    Raises: DataError naming the line of images.csv that is not as written, or of several sets.
    """
    examples = only_set(split)
    if not (data.directory / FILE).is_file():
        rows = examples.puzzle_indices[examples.group_indices[:-1]]
        names = [f"{split.folder.name} {row}" for row in rows.tolist()]
        return Listing(rows, names, np.arange(len(rows)), names, knows_patients=False)
    found = _read(data.text_of(FILE), split.folder.name, len(examples), str(data.directory / FILE))
    if not found:
        raise DataError(
            f"{data.directory / FILE} lists no picture of the {split.folder.name} split; "
            "build the data set again"
        )
    places, files, patients = zip(*sorted(found), strict=True)
    patient_names, numbers = np.unique(np.array(patients), return_inverse=True)
    is_known = patients != files
    return Listing(np.array(places), files, numbers, patient_names.tolist(), is_known)


def _read(text: str, split: str, num_examples: int, path: str) -> list[tuple[int, str, str]]:
    """Read example, file and patient of each picture of a split. Raises: DataError."""
    lines = csv.DictReader(StringIO(text, newline=""))
    if tuple(lines.fieldnames or ()) != COLUMNS:
        raise DataError(
            f"{path} has the columns {','.join(lines.fieldnames or ())}, "
            f"expected {','.join(COLUMNS)}; build the data set again"
        )
    found = []
    for line in lines:
        if line["split"] != split:
            continue
        row = _row(line, num_examples)
        if row is None:
            raise DataError(
                f"{path}, line {lines.line_num}: {line['example']!r} is no example of the "
                f"{num_examples:,} of {split}; build the data set again"
            )
        found.append((row, line["file"] or "", line["patient"] or line["file"] or ""))
    return found


def _row(line: Mapping[str, str | None], num_examples: int) -> int | None:
    """Return the row that a line names, None if it is none of the split."""
    text = line["example"] or ""
    is_row = text.isascii() and text.isdigit() and int(text) < num_examples
    return int(text) if is_row else None
