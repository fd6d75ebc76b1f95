"""Find out which findings the pictures of a table have.

A finding has a column of its own, or its name stands in a column of names: NIH's `Finding Labels`,
or `label` or `finding`. "No Finding", "normal" and "none" are no findings.

Shapes: N pictures, F findings.
"""

from collections.abc import Sequence

import numpy as np

from hrm_core.data.label_tables import NameColumn, Named, Table, key_of
from hrm_core.errors import DataError
from hrm_core.messages import first_few, quoted
from hrm_core.tasks.contract import IntArray

# the 14 of ChestX-ray14, in the order of ChestMNIST
NIH = (
    "Atelectasis",
    "Cardiomegaly",
    "Effusion",
    "Infiltration",
    "Mass",
    "Nodule",
    "Pneumonia",
    "Pneumothorax",
    "Consolidation",
    "Edema",
    "Emphysema",
    "Fibrosis",
    "Pleural_Thickening",
    "Hernia",
)
# Source: torchxrayvision datasets.py, default_pathologies
ALL = (
    "Atelectasis",
    "Consolidation",
    "Infiltration",
    "Pneumothorax",
    "Edema",
    "Emphysema",
    "Fibrosis",
    "Effusion",
    "Pneumonia",
    "Pleural_Thickening",
    "Cardiomegaly",
    "Nodule",
    "Mass",
    "Hernia",
    "Lung Lesion",
    "Fracture",
    "Lung Opacity",
    "Enlarged Cardiomediastinum",
)
LISTS = {"nih": NIH, "all": ALL}
OF_MEDMNIST = {
    "pneumoniamnist": ("Pneumonia",),
    "chestmnist": NIH,
}  # by the start of the file's name
SPELLED = {key_of(name): name for name in ALL}
ALIASES = {"pleuraleffusion": "effusion"}  # CheXpert's name
NONE = ("none", "normal", "nofinding", "nofindings")  # values of a column of names
FINDING_LISTS = ("findinglabels", "findings", "labels")
FINDING_NAMES = ("label", "finding", "class", "diagnosis")


def asked_findings(asked: str) -> list[str]:
    """Read --findings: nih, all, or names with commas between. Raises: DataError."""
    if asked.strip().casefold() in LISTS:
        return list(LISTS[asked.strip().casefold()])
    names = [name.strip() for name in asked.split(",") if name.strip()]
    keys = [key_of(name) for name in names]
    if not names or len(set(keys)) < len(keys):
        raise DataError(
            f"--findings {quoted(asked)} names none or one twice; expected names, nih or all"
        )
    return [SPELLED.get(key, name) for key, name in zip(keys, names, strict=True)]


def is_list(asked: str | None) -> bool:
    """Return True if findings are asked for by the name of a list; some may then be unknown."""
    return asked is not None and asked.strip().casefold() in LISTS


def table_findings(table: Table, asked: str | None) -> Named:
    """Return the findings of a table: those asked for, else all that it tells of.

    Raises: DataError if it tells of none, not of one that is asked for, or of an unknown one.
    """
    own = _own_columns(table)
    column = _name_column(table)
    names = asked_findings(asked) if asked is not None else _default(table, own, column)
    targets = []
    for name in names:
        found = _targets(table, name, own, column)
        if found is None and not is_list(asked):
            known = [*own.values(), *(column.spelled.values() if column else ())]
            raise DataError(
                f"{table.path} does not tell of {quoted(name)}; "
                f"it tells of {first_few(known, 20) or 'no findings'}"
            )
        targets.append(np.full(len(table.rows), -1) if found is None else found)
    return Named(tuple(names), _without_finding(table, np.stack(targets, axis=1)))


def array_findings(labels: IntArray, file_stem: str, asked: str | None, place: object) -> Named:
    """Name the columns of labels (N, F) of an .npz file, and choose those that are asked for.

    Raises: DataError if there are more or fewer names than columns.
    """
    width = labels.shape[1]
    of_file = [
        names for start, names in OF_MEDMNIST.items() if file_stem.casefold().startswith(start)
    ]
    own = of_file[0] if of_file and len(of_file[0]) == width else None
    names = list(own or ()) if asked is None else asked_findings(asked)
    if own and set(names) & set(own):
        columns = {name: labels[:, place] for place, name in enumerate(own)}
        missing = [name for name in names if name not in columns]
        if missing and not is_list(asked):
            raise DataError(
                f"{place} does not tell of {quoted(missing[0])}; it has {first_few(own, 20)}"
            )
        unknown = np.full(len(labels), -1)
        chosen = [columns.get(name, unknown) for name in names]
        return Named(tuple(names), np.stack(chosen, axis=1))
    if len(names) != width:
        raise DataError(
            f"{place} has labels of {width} findings and {len(names)} names; give --findings with "
            f"{width} names, and commas between"
        )
    return Named(tuple(names), labels)


def _own_columns(table: Table) -> dict[str, str]:
    """Return the columns that are called like a known finding: the names by their keys."""
    found = {}
    for name in table.header:
        key = ALIASES.get(key_of(name), key_of(name))
        if key in SPELLED:
            found[key] = name
    return found


def _name_column(table: Table) -> NameColumn | None:
    """Return the column that holds names of findings, if there is one."""
    values = table.first((*FINDING_LISTS, *FINDING_NAMES))
    return None if values is None else NameColumn(table, values, NONE)


def _default(table: Table, own: dict[str, str], column: NameColumn | None) -> Sequence[str]:
    """Return the findings that a table tells of. Raises: DataError."""
    if own:
        return [SPELLED[key] for key in own]
    if column is None or not column.known:
        raise DataError(
            f"{table.path} tells of no findings; expected columns such as Pneumonia, or one called "
            "Finding Labels, label or finding; columns of other names are taken with --findings"
        )
    if table.first(FINDING_LISTS) is None:
        return [SPELLED.get(key, name) for key, name in column.spelled.items()]
    for row, keys in enumerate(column.names):
        for key in sorted(keys - SPELLED.keys()):
            raise DataError(
                f"{table.place(row)}: unknown finding {quoted(column.spelled[key])}; correct it, "
                "or name those that you want with --findings"
            )
    return NIH if column.known <= _nih_keys() else [SPELLED[key] for key in column.spelled]


def _targets(
    table: Table, name: str, own: dict[str, str], column: NameColumn | None
) -> IntArray | None:
    """Return the values of a finding, (N,); None if the table does not tell of it."""
    key = key_of(name)
    if key in own:
        return table.numbers(own[key])
    if key in table.columns:
        return table.numbers(name)
    if column is None:
        return None
    is_nih = column.known <= _nih_keys() and table.first(FINDING_LISTS) is not None
    if key in column.known or (is_nih and key in _nih_keys()):
        return column.targets(key)
    return None


def _without_finding(table: Table, targets: IntArray) -> IntArray:
    """Set what is not known to absent where a column "No Finding" is 1, as CheXpert means it."""
    if "nofinding" not in table.columns:
        return targets
    is_none = table.numbers("nofinding") == 1
    return np.where(is_none[:, None] & (targets < 0), 0, targets)


def _nih_keys() -> set[str]:
    return {key_of(name) for name in NIH}
