"""What `hrm data arc` says."""

import io
import json
import zipfile

from cases import Case, json_with, removed, replaced

PAIR = {"input": [[1, 2]], "output": [[2], [1]]}
TASK = {
    "train": [PAIR, {"input": [[4]], "output": [[5]]}],
    "test": [{"input": [[6]], "output": [[3]]}],
}
OTHER = {**TASK, "test": [{"input": [[7, 7]], "output": [[7]]}]}
TASKS = {"t/training/a.json": TASK, "t/evaluation/b.json": OTHER}


def arc(task: object, more: str = "") -> Case:
    return Case(f"data arc out --tasks t --augment 1 {more}", files={"t/a.json": task})


def zipped(*entries: tuple[str, str]) -> bytes:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as file:
        for name, text in entries:
            info = zipfile.ZipInfo(name)
            file.writestr(info, text)
    return content.getvalue()


ARC_FILES = {
    "not JSON": "{",
    "a list": [1],
    "no train": {"test": TASK["test"]},
    "no test": {"train": TASK["train"]},
    "no pair": {**TASK, "train": []},
    "too many pairs": {**TASK, "train": [PAIR] * 2000},
    "pair is a list": {**TASK, "train": [[1]]},
    "no input": {**TASK, "train": [{"output": [[1]]}]},
    "no output": {**TASK, "train": [{"input": [[1]]}]},
    "no solution": {**TASK, "test": [{"input": [[1]]}]},
    "grid is a word": {**TASK, "train": [{"input": "x", "output": [[1]]}]},
    "ragged grid": {**TASK, "train": [{"input": [[1, 2], [1]], "output": [[1]]}]},
    "empty grid": {**TASK, "train": [{"input": [], "output": [[1]]}]},
    "large grid": {**TASK, "train": [{"input": [[1] * 31], "output": [[1]]}]},
    "no colour": {**TASK, "train": [{"input": [[10]], "output": [[1]]}]},
    "a fraction": {**TASK, "train": [{"input": [[0.5]], "output": [[1]]}]},
    "a key twice": '{"train": [], "train": [], "test": []}',
    "not UTF-8": b"\xff\xfe{",
}
ARC_ZIPS = {
    "leads out": [("../a.json", "{}")],
    "no task": [("a.txt", "")],
}
ARC_OPTIONS = {
    "no source": "",
    "two sources": "--tasks t --add t",
    "augment of added": "--add t --augment 3",
    "seed of added": "--add t --seed 0",
    "missing folder": "--tasks nope",
    "empty path": "--tasks ''",
    "too few": "--tasks t --subsample 9",
    "canvas too small": "--tasks t --canvas 1",
    "add to nothing": "--add t",
    "built": "--tasks t --augment 2 --canvas 4",
    "built, JSON": "--tasks t --augment 2 --subsample 1 --json",
}
CASES = {f"arc task, {name}": arc(task) for name, task in ARC_FILES.items()}
TWICE = zipped(("a.json", "{}"), ("b.json", "{}")).replace(b"b.json", b"a.json")
CASES |= {
    f"arc zip, {name}": Case("data arc out --tasks t.zip", files={"t.zip": zipped(*entries)})
    for name, entries in ARC_ZIPS.items()
}
CASES |= {
    f"arc {name}": Case(f"data arc out {more}", files=TASKS) for name, more in ARC_OPTIONS.items()
}
BIG = {**TASK, "train": [{"input": [[1] * 9], "output": [[1]]}]}


def add(files: dict[str, object], **more: object) -> Case:
    return Case("data arc data --add new", copies={"data": "data/arc"}, files=files, **more)


TESTED = {"input": [[2], [4]], "output": [[4], [2]]}
KEPT_TASKS = "{kept}/sources/arc"
CASES |= {
    "arc zip, an entry twice": Case("data arc out --tasks t.zip", files={"t.zip": TWICE}),
    "arc zip, damaged": Case("data arc out --tasks t.zip", files={"t.zip": b"PK\3\4 damaged"}),
    "arc zip, built": Case(
        "data arc out --tasks t.zip --augment 1",
        files={"t.zip": zipped(("t/a.json", json.dumps(TASK)))},
    ),
    "arc folder is empty": Case("data arc out --tasks t", files={"t/a.txt": ""}),
    "arc every task too large": arc(BIG, "--canvas 5"),
    "arc one task too large": Case(
        "data arc out --tasks t --augment 1 --canvas 5", files={**TASKS, "t/training/c.json": BIG}
    ),
    "arc twins": Case(
        "data arc out --tasks t u --augment 1",
        files={**TASKS, "u/b.json": OTHER, "u/c.json": OTHER},
    ),
    "arc namesakes": Case(
        "data arc out --tasks t u --augment 1", files={**TASKS, "u/a.json": OTHER}
    ),
    "arc bad name": Case("data arc out --tasks t", files={"t/a_t1_0123456789.json": TASK}),
    "arc out is used": Case("data arc out --tasks t", files={**TASKS, "out/a": ""}),
    "arc evaluation without solutions": Case(
        "data arc out --tasks t --augment 1",
        files={**TASKS, "t/evaluation/c.json": {**TASK, "test": [{"input": [[8, 8, 8]]}]}},
    ),
    "arc added": add({"new/c.json": OTHER}),
    "arc added, JSON": Case(
        "data arc data --add new --json", copies={"data": "data/arc"}, files={"new/c.json": OTHER}
    ),
    "arc add nothing new": Case(f"data arc data --add {KEPT_TASKS}", copies={"data": "data/arc"}),
    "arc add a namesake": add({"new/aa.json": OTHER}),
    "arc add a trained task to test": Case(
        "data arc data --add new/evaluation",
        copies={"data": "data/arc", "new/evaluation": "sources/arc/training"},
    ),
    "arc add a namesake to test": add({"new/evaluation/aa.json": OTHER}),
    "arc add a trained pair to test": add(
        {"new/evaluation/z.json": {**TASK, "test": [{"input": [[3, 0, 0]], "output": [[0, 0, 3]]}]}}
    ),
    "arc add tested pairs": add({"new/z.json": {"train": [TESTED], "test": [TESTED]}}),
    "arc add a large task": add({"new/c.json": BIG}),
    "arc add to Sudoku": Case("data arc data --add data", copies={"data": "data/sudoku"}),
    "arc add to a file": Case("data arc data --add data", files={"data": ""}),
    "arc add to a newer layout": add(
        {"new/c.json": OTHER}, edits={"data/build.json": json_with(layout=9)}
    ),
    "arc add to damaged tasks": add(
        {"new/c.json": OTHER}, edits={"data/build.json": json_with(tasks=[1])}
    ),
    "arc add without canvas": add(
        {"new/c.json": OTHER}, edits={"data/build.json": json_with(task_settings={"canvas": 0})}
    ),
    "arc add to too few names": add({"new/c.json": OTHER, "data/identifiers.json": ["<blank>"]}),
    "arc add to names of no text": add(
        {"new/c.json": OTHER, "data/identifiers.json": ["\ud800"] * 9}
    ),
    "arc add without names": add({"new/c.json": OTHER}, edits={"data/identifiers.json": removed}),
    "arc add, keys not hexadecimal": add(
        {"new/c.json": OTHER}, edits={"data/build.json": replaced("8e9117cc10f3c4d8", "xx")}
    ),
}
