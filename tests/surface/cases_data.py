"""What `hrm data inspect` says of whole and of damaged data sets."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
from cases import Case, copy_of, flipped, json_with, removed, shortened, text

Edit = Callable[[Path], None]
INPUTS = "data/train/all__inputs.npy"
LABELS = "data/train/all__labels.npy"
PUZZLES = "data/train/all__puzzle_indices.npy"
GROUPS = "data/train/all__group_indices.npy"
IDENTIFIERS = "data/train/all__puzzle_identifiers.npy"
RATINGS = "data/train/all__ratings.npy"
ABOUT = "data/train/dataset.json"
BUILD = "data/build.json"


def array_with(place: object, value: int) -> Edit:
    """Return an edit that changes one value of an .npy file."""

    def edit(path: Path) -> None:
        array = np.load(path)
        array[place] = value
        np.save(path, array)

    return edit


def array_as(change: Callable[[np.ndarray], np.ndarray]) -> Edit:
    """Return an edit that saves another array in the place of one."""
    return lambda path: np.save(path, change(np.load(path)))


def lengthened(path: Path) -> None:
    """Add a byte."""
    path.write_bytes(path.read_bytes() + b"x")


def damaged(edits: dict[str, Edit], source: str = "sudoku") -> Case:
    return Case("data inspect data", copies={"data": f"data/{source}"}, edits=edits)


DAMAGES: dict[str, dict[str, Edit]] = {
    "labels cut short": {LABELS: shortened},
    "labels missing": {LABELS: removed},
    "labels no array": {LABELS: text("nothing")},
    "labels empty": {LABELS: text("")},
    "labels are floats": {LABELS: array_as(lambda array: array.astype(np.float32))},
    "labels of one dimension": {LABELS: array_as(lambda array: array[0])},
    "labels too few": {LABELS: array_as(lambda array: array[1:])},
    "labels too short": {LABELS: array_as(lambda array: array[:, 1:])},
    "inputs too few": {INPUTS: array_as(lambda array: array[1:])},
    "input token too large": {INPUTS: array_with((3, 2), 200)},
    "label token too large": {LABELS: array_with((3, 2), 200)},
    "puzzles start late": {PUZZLES: array_with(0, 1)},
    "puzzles go back": {PUZZLES: array_with(3, 0)},
    "puzzles end early": {PUZZLES: array_as(lambda array: array[:-1])},
    "groups end early": {GROUPS: array_as(lambda array: array[:-1])},
    "groups go back": {GROUPS: array_with(2, 0)},
    "identifier too large": {IDENTIFIERS: array_with(0, 7)},
    "identifiers too few": {IDENTIFIERS: array_as(lambda array: array[1:])},
    "ratings too few": {RATINGS: array_as(lambda array: array[1:])},
    "ratings negative": {RATINGS: array_with(0, -3)},
    "metadata no JSON": {ABOUT: text("{")},
    "metadata a list": {ABOUT: text("[]")},
    "metadata empty": {ABOUT: text("{}")},
    "pad_id too large": {ABOUT: json_with(pad_id=99)},
    "blank identifier too large": {ABOUT: json_with(blank_identifier_id=5)},
    "metadata a folder": {ABOUT: copy_of("sources")},
    "labels too long": {LABELS: lengthened},
    "sets twice": {ABOUT: json_with(sets=["all", "all"])},
    "no sets": {ABOUT: json_with(sets=[])},
    "other set": {ABOUT: json_with(sets=["other"])},
    "vocabulary is a word": {ABOUT: json_with(vocab_size="six")},
    "vocabulary too small": {ABOUT: json_with(vocab_size=3)},
    "other length": {ABOUT: json_with(seq_len=36)},
    "groups miscounted": {ABOUT: json_with(total_groups=3)},
    "examples miscounted": {ABOUT: json_with(mean_puzzle_examples=7.5)},
    "ignored label in range": {ABOUT: json_with(ignore_label_id=2)},
    "path as a set": {ABOUT: json_with(sets=["../all"])},
    "metadata missing": {ABOUT: removed},
    "train missing": {"data/train": removed},
    "both missing": {"data/train": removed, "data/test": removed},
    "newer layout": {BUILD: json_with(layout=2)},
    "layout a word": {BUILD: json_with(layout="two")},
    "build no JSON": {BUILD: text("{")},
    "build a list": {BUILD: text("[]")},
    "build missing": {BUILD: removed},
    "task a number": {BUILD: json_with(task=7)},
    "task unknown": {BUILD: json_with(task="chess")},
    "settings a list": {BUILD: json_with(task_settings=[1])},
    "repeats as a word": {BUILD: json_with(test_questions_in_training="many")},
    "repeated questions": {BUILD: json_with(test_questions_in_training=3)},
    "other byte": {INPUTS: flipped},
}
ARC_DAMAGES: dict[str, dict[str, Edit]] = {
    "canvas a word": {BUILD: json_with(task_settings={"canvas": "four"})},
    "canvas of another size": {BUILD: json_with(task_settings={"canvas": 5})},
    "no canvas": {BUILD: json_with(task_settings={})},
    "shared tasks a list": {BUILD: json_with(shared_tasks=[1])},
    "dropped pairs a word": {BUILD: json_with(dropped_pairs="x")},
    "dropped pairs": {BUILD: json_with(dropped_pairs=["x/a, pair 3: a test pair of b"])},
    "shared tasks": {BUILD: json_with(shared_tasks={"a": ["x", "y"]})},
    "namesakes": {BUILD: json_with(namesakes={"a": ["x", "y"]})},
}
GRIDS_DAMAGES: dict[str, dict[str, Edit]] = {
    "no settings": {BUILD: json_with(task_settings=None)},
    "empty settings": {BUILD: json_with(task_settings={})},
    "unknown setting": {BUILD: json_with(task_settings={"colour": 1})},
}
CASES = {f"inspect {name}": damaged(edits) for name, edits in DAMAGES.items()}
CASES |= {f"inspect arc, {name}": damaged(edits, "arc") for name, edits in ARC_DAMAGES.items()}
CASES |= {
    f"inspect grids, {name}": damaged(edits, "grids") for name, edits in GRIDS_DAMAGES.items()
}
KINDS = ("sudoku", "sudoku-csv", "maze", "maze-csv", "arc", "grids")
CASES |= {f"inspect kept {name}": Case("data inspect {kept}/data/" + name) for name in KINDS}
CASES |= {
    f"inspect {name}, drawn": Case("data inspect {kept}/data/" + name + " --sheet s.png --rows 2")
    for name in ("sudoku", "maze", "arc", "grids")
}
SUDOKU = "data inspect {kept}/data/sudoku"
CASES |= {
    "inspect JSON": Case(SUDOKU + " --json"),
    "inspect no data": Case("data inspect ."),
    "inspect missing folder": Case("data inspect nope"),
    "inspect empty path": Case("data inspect ''"),
    "inspect sheet of no task": Case(
        "data inspect data --sheet s.png",
        copies={"data": "data/sudoku"},
        edits={BUILD: json_with(task="chess")},
    ),
    "inspect sheet of another suffix": Case(SUDOKU + " --sheet s.jpg"),
    "inspect sheet in no folder": Case(SUDOKU + " --sheet nope/s.png"),
    "inspect sheet is a folder": Case(SUDOKU + " --sheet ."),
    "inspect no rows": Case(SUDOKU + " --sheet s.png --rows 0"),
    "inspect digits of Sudoku": Case(SUDOKU + " --sheet s.png --digits"),
    "inspect digits of arc": Case("data inspect {kept}/data/arc --sheet s.png --digits"),
}
