"""What `hrm eval` and `hrm plot` say."""

from cases import KEPT, NAMED_ARC, Case, elsewhere, flipped, json_with, removed, replaced, shortened

DATA = "--data {kept}/data"
WEIGHTS = "run/checkpoints/update_00000006/model.safetensors"
ON_CPU = "--device cpu --dtype float32"
EVAL = f"eval {{kept}}/run {DATA}/sudoku {ON_CPU}"
ARC = f"eval {{kept}}/arc {DATA}/arc {ON_CPU}"
EVAL_OPTIONS = {
    "noise is no number": "--noise nan",
    "noise is negative": "--noise -1",
    "rollouts without noise": "--rollouts 2",
    "submission of a part": "--submission s.json --limit 3",
    "submission of training": "--submission s.json --split train",
    "submission of Sudoku": "--submission s.json",
    "digits without a sheet": "--digits",
    "digits of Sudoku": "--digits --sheet s.png",
    "both halts in a file": "--halt both --save-predictions p.npz",
    "predictions in no folder": "--save-predictions nope/p.npz",
    "predictions of Sudoku as CSV": "--save-predictions p.csv",
    "sheet of another suffix": "--sheet s.gif",
    "two outputs alike": "--sheet a.png --save-predictions ./a.png",
    "no votes": "--votes 0",
    "unknown halt": "--halt never",
    "unknown choice": "--choose best",
    "unknown split": "--split all",
    "float64": "--dtype float64",
}
CASES = {f"eval {name}": Case(f"{EVAL} {words}") for name, words in EVAL_OPTIONS.items()}
CASES |= {
    "eval no model": Case(f"eval nope {DATA}/sudoku"),
    "eval no model file": Case(f"eval models/x.safetensors {DATA}/sudoku"),
    "eval no data set": Case("eval {kept}/sudoku.safetensors --data nope"),
    "eval a folder": Case(f"eval {{kept}}/data {DATA}/sudoku"),
    "eval a file that is no model": Case(
        f"eval a.safetensors {DATA}/sudoku", files={"a.safetensors": "x"}
    ),
    "eval without data": Case("eval {kept}/sudoku.safetensors"),
    "eval data are gone": Case(
        "eval run",
        copies={"run": "run"},
        edits={"run/config.yaml": elsewhere},
    ),
    "eval data have changed": Case(
        "eval run",
        copies={"run": "run", "gone": "data/sudoku-csv"},
        edits={"run/config.yaml": elsewhere},
    ),
    "eval other data": Case(f"eval {{kept}}/run {DATA}/maze"),
    "eval other task of the same sizes": Case(
        "eval {kept}/run --data data",
        copies={"data": "data/sudoku"},
        edits={"data/build.json": json_with(task="maze")},
    ),
    "eval no test split": Case(
        "eval {kept}/run --data data", copies={"data": "data/sudoku"}, edits={"data/test": removed}
    ),
    "eval first of arc": Case(f"{ARC} --noise 0.1 --rollouts 2 --choose first"),
    "eval votes of arc": Case(f"{ARC} --votes 2"),
    "eval votes of no task": Case(
        "eval {kept}/run --data data --votes 2",
        copies={"data": "data/sudoku"},
        edits={"data/build.json": json_with(task="chess")},
    ),
    "eval other puzzles": Case(
        "eval old --data data",
        copies=NAMED_ARC | {"data": "data/arc"},
        edits={"data/identifiers.json": replaced("<blank>", "<other>")},
    ),
    "eval without names": Case(
        "eval {kept}/arc --data data",
        copies={"data": "data/arc"},
        edits={"data/identifiers.json": removed},
    ),
    "eval too few names": Case(
        "eval {kept}/arc --data data",
        copies={"data": "data/arc"},
        files={"data/identifiers.json": ["<blank>"]},
    ),
    "eval names are no list": Case(
        "eval {kept}/arc --data data",
        copies={"data": "data/arc"},
        files={"data/identifiers.json": {}},
    ),
    "eval none is whole": Case(
        f"eval run {DATA}/sudoku",
        copies={"run": "run"},
        edits={"run/checkpoints/update_00000004": removed, WEIGHTS: shortened},
    ),
    "eval newest is damaged": Case(
        f"eval run {DATA}/sudoku {ON_CPU}",
        copies={"run": "run"},
        edits={WEIGHTS: shortened},
        masked=True,
    ),
    "eval one damaged file": Case(
        f"eval {WEIGHTS} {DATA}/sudoku", copies={"run": "run"}, edits={WEIGHTS: flipped}
    ),
    "eval": Case(EVAL, masked=True),
    "eval, both halts and votes": Case(f"{EVAL} --halt both --votes 3", masked=True),
    "eval, noise": Case(f"{EVAL} --noise 0.1 --rollouts 2", masked=True),
    "eval, files": Case(f"{EVAL} --sheet s.png --save-predictions p.npz --limit 4", masked=True),
    "eval, two models": Case(
        f"eval {{kept}}/run {{kept}}/sudoku.safetensors {DATA}/sudoku {ON_CPU}", masked=True
    ),
    "eval, two runs of other data": Case(
        f"eval run other {ON_CPU}",
        copies={"run": "run", "other": "run"},
        edits={
            "run/config.yaml": replaced("/data/sudoku", str(KEPT / "data" / "sudoku")),
            "other/config.yaml": replaced("sha256: ", "sha256: 0"),
        },
    ),
    "eval, torch": Case(f"{EVAL} --backend torch", masked=True, needs=("torch",)),
    "eval maze": Case(
        f"eval {{kept}}/maze.safetensors {DATA}/maze --votes 2 {ON_CPU}", masked=True
    ),
    "eval arc": Case(f"{ARC} --halt both", masked=True),
    "eval arc, submission": Case(f"{ARC} --submission s.json --sheet s.png --digits", masked=True),
    "eval grids": Case(f"eval {{kept}}/grids.safetensors {DATA}/grids {ON_CPU}", masked=True),
    "plot": Case("plot {kept}/run --out c.png", needs=("matplotlib",)),
    "plot two runs": Case(
        "plot {kept}/run run --out c.png", copies={"run": "run"}, needs=("matplotlib",)
    ),
    "plot no run": Case("plot nope"),
    "plot another suffix": Case("plot {kept}/run --out c.svg"),
    "plot into no folder": Case("plot {kept}/run --out nope/c.png"),
    "plot onto a folder": Case("plot {kept}/run --out c.png", files={"c.png/a": ""}),
    "plot an empty log": Case("plot run", files={"run/log.jsonl": ""}),
    "plot a damaged log": Case("plot run", files={"run/log.jsonl": '{}\nx\n{"kind": "train"}\n'}),
    "plot a log of other things": Case("plot run", files={"run/log.jsonl": '{"kind": "x"}\n'}),
    "plot without matplotlib": Case("plot {kept}/run --out c.png", absent=("matplotlib",)),
}
