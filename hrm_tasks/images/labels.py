"""Find out which labels the pictures of a table have.

A column of names gives each picture one label, or several joined by `|`. Columns of 0 and 1 give as
many labels as there are columns.

Shapes: N pictures, F labels.
"""

from collections.abc import Sequence

import numpy as np

from hrm_core.data.label_tables import (
    BETWEEN,
    FILE_COLUMNS,
    PATIENT_COLUMNS,
    SOURCE_COLUMNS,
    SPLIT_COLUMNS,
    NameColumn,
    Named,
    Table,
    key_of,
)
from hrm_core.errors import DataError
from hrm_core.messages import first_few, quoted

NAME_COLUMNS = ("label", "labels", "class", "category", "target")
OTHER_COLUMNS = (*FILE_COLUMNS, *PATIENT_COLUMNS, *SPLIT_COLUMNS, *SOURCE_COLUMNS)
NONE = ("none",)  # of several labels


def table_labels(table: Table, asked: str | None) -> Named:
    """Return the labels of a table: of the columns asked for, else of those that hold labels.

    Raises: DataError if there are none, or a value is no label.
    """
    columns = _asked(table, asked) if asked is not None else _default(table)
    if len(columns) == 1 and _holds_names(table, columns[0]):
        return _by_names(table, columns[0])
    targets = [table.numbers(column) for column in columns]
    return Named(tuple(columns), np.stack(targets, axis=1))


def _asked(table: Table, asked: str) -> list[str]:
    """Read --columns. Raises: DataError if one is not there."""
    names = [name.strip() for name in asked.split(",") if name.strip()]
    for name in names:
        if key_of(name) not in table.columns or names.count(name) > 1:
            raise DataError(
                f"{table.path}: --columns {quoted(asked)} names {quoted(name)}, which is there "
                f"{'once' if key_of(name) in table.columns else 'not'}; "
                f"the columns are {first_few([each for each in table.header if each], 20)}"
            )
    if not names:
        raise DataError(
            f"--columns {quoted(asked)} names no column; write them with commas between"
        )
    return names


def _default(table: Table) -> Sequence[str]:
    """Return the column of names, else all columns of 0 and 1. Raises: DataError."""
    names = {key_of(name): name.strip() for name in table.header if name.strip()}
    for key in NAME_COLUMNS:
        if key in names:
            return [names[key]]
    found = [
        name for key, name in names.items() if key not in OTHER_COLUMNS and table.is_numbers(name)
    ]
    if not found:
        raise DataError(
            f"{table.path} has no labels: no column called label and none of 0 and 1; "
            f"name them with --columns, the columns are {first_few(list(names.values()), 20)}"
        )
    return found


def _holds_names(table: Table, column: str) -> bool:
    """Return True if the values of a column are names: it is called so, or they are not 0 and 1."""
    return key_of(column) in NAME_COLUMNS or not table.is_numbers(column)


def _by_names(table: Table, column: str) -> Named:
    """Return the labels of a column of names."""
    values = table.columns[key_of(column)]
    is_several = any(BETWEEN in value for value in values)
    names = NameColumn(table, values, NONE if is_several else ())
    if not names.known:
        raise DataError(f"{table.path}: the column {quoted(column)} is empty; expected labels")
    targets = [names.targets(key) for key in names.spelled]
    return Named(tuple(names.spelled.values()), np.stack(targets, axis=1), not is_several)
