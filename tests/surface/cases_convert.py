"""What `hrm score` and `hrm convert` say."""

import pickle
from pathlib import Path

from cases import (
    Case,
    bytes_of,
    flipped,
    header_with,
    json_with,
    removed,
    replaced,
    shortened,
    text,
)

SUDOKU = "{kept}/sudoku.safetensors"
SOLUTIONS = {"a": [[[1]]], "b": [[[2]], [[3]]]}
ANSWERS = {
    "a": [{"attempt_1": [[1]], "attempt_2": [[0]]}],
    "b": [{"attempt_1": [[0]], "attempt_2": [[2]]}, {"attempt_1": [[0]], "attempt_2": [[0]]}],
}
SUBMISSIONS = {
    "all": ANSWERS,
    "one task missing": {"a": ANSWERS["a"]},
    "one task more": {**ANSWERS, "c": ANSWERS["a"]},
    "one answer missing": {**ANSWERS, "b": ANSWERS["a"]},
    "one attempt": {**ANSWERS, "a": [{"attempt_1": [[1]]}]},
    "other attempts": {**ANSWERS, "a": [{"attempt_1": [[1]], "attempt_3": [[1]]}]},
    "attempt is a number": {**ANSWERS, "a": [{"attempt_1": 1, "attempt_2": [[0]]}]},
    "attempt is empty": {**ANSWERS, "a": [{"attempt_1": [], "attempt_2": [[0]]}]},
    "attempt is null": {**ANSWERS, "a": [{"attempt_1": None, "attempt_2": [[0]]}]},
    "attempt is ragged": {**ANSWERS, "a": [{"attempt_1": [[1, 2], [1]], "attempt_2": [[0]]}]},
    "no colour": {**ANSWERS, "a": [{"attempt_1": [[11]], "attempt_2": [[0]]}]},
    "answer is a list": {**ANSWERS, "a": [[1]]},
    "task is a word": {**ANSWERS, "a": "x"},
    "empty": {},
    "a list": [],
    "no JSON": "{",
    "not UTF-8": b"\xff\xfe",
}
CASES = {
    f"score {name}": Case("score s.json r.json", files={"s.json": content, "r.json": SOLUTIONS})
    for name, content in SUBMISSIONS.items()
}
CASES |= {
    "score JSON": Case(
        "score s.json r.json --json", files={"s.json": ANSWERS, "r.json": SOLUTIONS}
    ),
    "score missing": Case("score s.json r.json", files={"r.json": SOLUTIONS}),
    "score missing solutions": Case("score s.json r.json", files={"s.json": ANSWERS}),
    "score a folder": Case("score . r.json", files={"r.json": SOLUTIONS}),
    "score solutions empty": Case("score s.json r.json", files={"s.json": ANSWERS, "r.json": {}}),
    "score solutions a word": Case(
        "score s.json r.json", files={"s.json": ANSWERS, "r.json": {"a": 1}}
    ),
    "score solutions no grid": Case(
        "score s.json r.json", files={"s.json": ANSWERS, "r.json": {"a": [1], "b": [1, 2]}}
    ),
    "score one argument": Case("score s.json"),
}

CONVERT_OPTIONS = {
    "no form": "m",
    "no form of checkpoint": "m.safetensors --to checkpoint",
    "no form of file": "m --to safetensors",
    "unknown form": "m --to onnx",
    "unknown dtype": "m.safetensors --dtype int8",
    "half official": "m --to official --dtype float16",
    "means without names": "m.safetensors --mean-of a",
    "no vocabulary": "m.safetensors --vocab-size 0",
    "positions cannot be cut": "m.safetensors --seq-len 36 --positions cut",
    "other data's vocabulary": "m.safetensors --data {kept}/data/maze --vocab-size 9",
    "no data": "m.safetensors --data .",
    "missing names": "m.safetensors --identifiers nope.json",
    "no form at all": "''",
    "a size by --set": "m.safetensors --set model.seq_len=9",
    "another network by --set": "m.safetensors --set model.hidden_size=40",
    "training by --set": "m.safetensors --set optim.lr=1e-3",
    "causal attention alone": "m.safetensors --set model.attention=causal",
    "verify another attention": "m.safetensors --verify --set model.attention=causal --set model.halting=fixed",
}
CASES |= {
    f"convert {name}": Case(f"convert {SUDOKU} {words}") for name, words in CONVERT_OPTIONS.items()
}
CONVERTED = {
    "to a file": "m.safetensors --dtype bfloat16",
    "to a checkpoint": "m --to checkpoint",
    "to other sizes": "m.safetensors --vocab-size 9 --seq-len 36 --seed 3",
    "to other data": "m.safetensors --data {kept}/data/maze",
    "to fewer positions": "m.safetensors --seq-len 9 --positions interpolate",
    "as JSON": "m.safetensors --json",
    "to fixed halting": "m.safetensors --set model.halting=fixed --set model.halt_max_steps=2",
}
CASES |= {f"convert {name}": Case(f"convert {SUDOKU} {words}") for name, words in CONVERTED.items()}
ARC_MODEL = "{kept}/arc"
NAMES = "--source-identifiers {kept}/data/arc/identifiers.json"
CONFIG = "p/all_config.yaml"
FIRST = "H_init"
HEADERS = {
    "a list": lambda found: [1],
    "metadata no text": lambda found: {**found, "__metadata__": {"hrm": 1}},
    "entry no object": lambda found: {**found, FIRST: 7},
    "shape is a word": lambda found: {**found, FIRST: {**found[FIRST], "shape": ["x"]}},
    "another shape": lambda found: {**found, FIRST: {**found[FIRST], "shape": [3]}},
    "whole numbers": lambda found: {**found, FIRST: {**found[FIRST], "dtype": "I32"}},
    "a gap": lambda found: {name: entry for name, entry in found.items() if name != FIRST},
    "no metadata": lambda found: {**found, "__metadata__": {}},
}


def pickled(path: Path) -> None:
    """Write what is more than tensors, as torch does."""
    import torch

    torch.save({"model": Path("x")}, path, pickle_module=pickle)


def listed(path: Path) -> None:
    """Write a list of tensors, as torch does."""
    import torch

    torch.save([torch.zeros(2)], path)


def published(edits: dict, words: str = "m") -> Case:
    """Convert a published checkpoint that is damaged after it was made."""
    before = "convert {kept}/sudoku.safetensors p --to official"
    return Case(f"convert p {words}", before=before, edits=edits, needs=("torch",))


CASES |= {
    "convert no source": Case("convert nope m"),
    "convert a folder": Case("convert {kept}/data m"),
    "convert no safetensors": Case(
        "convert a.safetensors m.safetensors", files={"a.safetensors": "x"}
    ),
    "convert a damaged file": Case(
        "convert a.safetensors m --to checkpoint",
        copies={"a.safetensors": "sudoku.safetensors"},
        edits={"a.safetensors": flipped},
    ),
    "convert a short file": Case(
        "convert a.safetensors m --to checkpoint",
        copies={"a.safetensors": "sudoku.safetensors"},
        edits={"a.safetensors": shortened},
    ),
    "convert other tensors": Case(
        "convert a.safetensors m --to checkpoint",
        copies={"a.safetensors": "sudoku.safetensors"},
        edits={
            "a.safetensors": lambda path: path.write_bytes(
                path.read_bytes().replace(b"lm_head", b"ln_head")
            )
        },
    ),
    "convert a damaged run": Case(
        "convert run m.safetensors",
        copies={"run": "run"},
        edits={"run/checkpoints/update_00000006/model.safetensors": shortened},
    ),
    "convert to what is there": Case(
        f"convert {SUDOKU} m.safetensors", files={"m.safetensors": "x"}
    ),
    "convert with force": Case(
        f"convert {SUDOKU} m.safetensors --force", files={"m.safetensors": "x"}
    ),
    "convert to a folder by force": Case(
        f"convert {SUDOKU} m.safetensors --force", files={"m.safetensors/a": "x"}
    ),
    "convert to a full folder": Case(
        f"convert {SUDOKU} m --to checkpoint --force", files={"m/a": "x"}
    ),
    "convert into its source": Case("convert run run/m --to checkpoint", copies={"run": "run"}),
    "convert to a folder that is a file": Case(
        f"convert {SUDOKU} a/m.safetensors", files={"a": "x"}
    ),
    "convert from no address": Case("convert hf://a m"),
    "convert arc": Case(f"convert {ARC_MODEL} m.safetensors"),
    "convert arc to other puzzles": Case(
        f"convert {ARC_MODEL} m --to checkpoint --data data {NAMES}",
        copies={"data": "data/arc"},
        edits={"data/identifiers.json": replaced("bb", "cc")},
    ),
    "convert arc from the mean": Case(
        f"convert {ARC_MODEL} m --to checkpoint --data data {NAMES} --mean-of 'aa*'",
        copies={"data": "data/arc"},
        edits={"data/identifiers.json": replaced("bb", "cc")},
    ),
    "convert arc from no such mean": Case(
        f"convert {ARC_MODEL} m --to checkpoint --data data {NAMES} --mean-of zz",
        copies={"data": "data/arc"},
        edits={"data/identifiers.json": replaced("bb", "cc")},
    ),
    "convert arc, mean of nothing new": Case(
        f"convert {ARC_MODEL} m --to checkpoint --data {{kept}}/data/arc {NAMES} --mean-of aa"
    ),
    "convert arc without names": Case(
        f"convert {ARC_MODEL} m --to checkpoint --data {{kept}}/data/arc"
    ),
    "convert arc, too few names": Case(
        f"convert {ARC_MODEL} m --to checkpoint --data data --source-identifiers n.json",
        copies={"data": "data/arc"},
        files={"n.json": ["<blank>"]},
    ),
    "convert arc, names twice": Case(
        f"convert {ARC_MODEL} m --to checkpoint --identifiers n.json {NAMES}",
        files={"n.json": ["<blank>", "aa", "aa"]},
    ),
    "convert arc, names are no list": Case(
        f"convert {ARC_MODEL} m --to checkpoint --identifiers n.json {NAMES}",
        files={"n.json": "{}"},
    ),
    "convert arc, names are no JSON": Case(
        f"convert {ARC_MODEL} m --to checkpoint --identifiers n.json {NAMES}", files={"n.json": "{"}
    ),
    "convert arc, data of miscounted names": Case(
        f"convert {ARC_MODEL} m --to checkpoint --data data {NAMES}",
        copies={"data": "data/arc"},
        files={"data/identifiers.json": ["<blank>"]},
    ),
    "convert official": Case(f"convert {SUDOKU} m --to official", needs=("torch",)),
    "convert and verify": Case(
        f"convert {SUDOKU} m.safetensors --verify", masked=True, needs=("mlx",)
    ),
    "convert and verify, JSON": Case(
        f"convert {SUDOKU} m.safetensors --verify --json", masked=True, needs=("mlx",)
    ),
    "convert published, a list": published({"p/checkpoint": listed}),
    "convert published, sizes damaged": published({"p/hrm.json": text("{")}),
    "convert published, other sizes": published({"p/hrm.json": json_with(seq_len=36)}),
    "convert published, file without config": Case(
        "convert p/checkpoint m",
        before="convert {kept}/sudoku.safetensors p --to official",
        edits={CONFIG: removed},
        needs=("torch",),
    ),
    "convert published, no trace of the length": Case(
        "convert p m",
        before="convert {kept}/grids.safetensors p --to official",
        edits={"p/hrm.json": removed},
        needs=("torch",),
    ),
    "convert published, length given": Case(
        "convert p m --seq-len 8",
        before="convert {kept}/grids.safetensors p --to official",
        edits={"p/hrm.json": removed},
        needs=("torch",),
    ),
    "convert published": published({}),
    "convert published without sizes": published({"p/hrm.json": removed}),
    "convert published, no archive": published({"p/checkpoint": text("x")}),
    "convert published, cut short": published({"p/checkpoint": shortened}),
    "convert published, pickled": published({"p/checkpoint": pickled}),
    "convert published, no config": published({CONFIG: removed}),
    "convert published, no weights": published({"p/checkpoint": removed}),
    "convert published, config no YAML": published({CONFIG: text("arch: [")}),
    "convert published, config no text": published({CONFIG: bytes_of(b"\xff\xfe")}),
    "convert published, no arch": published({CONFIG: text("seed: 0")}),
    "convert published, no loss": published({CONFIG: text("arch: {name: x}")}),
    "convert published, another network": published({CONFIG: replaced("hrm_act_v1@", "trm@")}),
    "convert published, another loss": published({CONFIG: replaced("ACTLossHead", "Other")}),
    "convert published, unknown setting": published({CONFIG: replaced("hidden_size", "size")}),
    "convert published, a word": published({CONFIG: replaced("hidden_size: 20", "hidden_size: x")}),
    "convert published, another size": published(
        {CONFIG: replaced("hidden_size: 20", "hidden_size: 24")}
    ),
    "convert published, more layers": published({CONFIG: replaced("H_layers: 1", "H_layers: 99")}),
    "convert published, to a file": published({}, "m.safetensors --dtype float16"),
}
CASES |= {
    f"convert header, {name}": Case(
        "convert a.safetensors m --to checkpoint",
        copies={"a.safetensors": "sudoku.safetensors"},
        edits={"a.safetensors": header_with(change)},
    )
    for name, change in HEADERS.items()
}
CASES |= {
    "convert without the Hub's package": Case("convert hf://a/b m", absent=("huggingface_hub",)),
}
