"""Help, unknown words, and commands that need no data."""

from pathlib import Path

from cases import Case, copy_of, flipped, json_with, removed

COMMANDS = (
    "demo",
    "data",
    "presets",
    "train",
    "models",
    "eval",
    "solve",
    "generate",
    "predict",
    "analyze",
    "serve",
    "score",
    "convert",
    "parity",
    "doctor",
    "plot",
)
BUILDERS = (
    "sudoku",
    "maze",
    "arc",
    "grids",
    "text",
    "sequences",
    "cricket",
    "xray",
    "images",
    "inspect",
)
PRESETS = [
    "sudoku-4x4",
    "sudoku-6x6",
    "sudoku-9x9",
    "sudoku-extreme-1k",
    "sudoku-extreme-1k-mac",
    "sudoku-extreme-full",
    "sudoku-extreme-full-mac",
    "sudoku-trm",
    "maze-10x10",
    "maze-30x30-hard",
    "maze-30x30-hard-mac",
    "arc-6x6",
    "arc-1",
    "arc-1-mac",
    "arc-2",
    "arc-2-mac",
    "grids-small",
    "text-char",
    "text-bpe-small",
    "sequences-small",
    "images-small",
]
NEEDS_BOTH = ("mlx", "torch")

CASES = {
    "help": Case("--help"),
    "help, short": Case("-h"),
    "no command": Case(""),
    "version": Case("--version"),
    "unknown command": Case("frobnicate"),
    "unknown option": Case("--frobnicate"),
    "data without a command": Case("data"),
    "data unknown command": Case("data chess"),
    "several processes": Case("doctor", settings={"WORLD_SIZE": "2"}),
    "several processes, data": Case("data sudoku out --generate 3", settings={"WORLD_SIZE": "2"}),
    "doctor unknown preset": Case("doctor --preset nope"),
    "doctor preset as JSON": Case("doctor --preset sudoku-4x4 --json"),
    "doctor config file": Case(
        "doctor --preset c.yaml", files={"c.yaml": "model: {hidden_size: 8}"}
    ),
    "doctor bad YAML": Case("doctor --preset c.yaml", files={"c.yaml": "model: ["}),
    "doctor unknown option": Case("doctor --prest sudoku-4x4"),
    "presets": Case("presets"),
    "presets as JSON": Case("presets --json"),
    "models": Case("models"),
    "models as JSON": Case("models --json"),
    "demo unknown backend": Case("demo --backend jax"),
    "demo seed": Case("demo --seed -1"),
    "demo in a used run": Case(
        "demo --run run --seed 9", copies={"run": "run", "run/data": "data/sudoku"}
    ),
    "demo run in use": Case("demo --run run", copies={"run": "run"}, held="run/.lock"),
    "analyze unknown figure": Case("analyze sudoku-9x9 --out out --figures spectra"),
    "analyze without data": Case(
        "analyze m.safetensors --out out",
        copies={"m.safetensors": "sudoku.safetensors"},
        needs=("matplotlib",),
    ),
    "serve wrong port": Case("serve --port 70000"),
    "serve no model": Case("serve nope"),
    "parity train and self-test": Case("parity --train 2 --self-test"),
    "parity train and golden": Case("parity --train 2 --golden ."),
    "parity train and backend": Case("parity --train 2 --backend mlx"),
    "parity train and dtype": Case("parity --train 2 --dtype float32"),
    "parity self-test and backend": Case("parity --self-test --backend torch"),
    "parity self-test and dtype": Case("parity --self-test --dtype float32"),
    "parity seed alone": Case("parity --seed 3"),
    "parity golden is missing": Case("parity --golden nope"),
    "parity golden is empty": Case("parity --golden .", needs=NEEDS_BOTH),
    "parity report is a folder": Case("parity --report ."),
    "parity report in no folder": Case("parity --report nope/p.json"),
    "parity case is no JSON": Case("parity --golden .", files={"case.json": "{"}, needs=NEEDS_BOTH),
    "parity case is empty": Case("parity --golden .", files={"case.json": {}}, needs=NEEDS_BOTH),
}
CASES |= {f"help {name}": Case(f"{name} --help") for name in COMMANDS}
CASES |= {f"help data {name}": Case(f"data {name} --help") for name in BUILDERS}
CASES |= {f"doctor {name}": Case(f"doctor --preset {name}") for name in PRESETS}
CASES |= {
    f"{name} without arguments": Case(name)
    for name in ("train", "eval", "solve", "analyze", "score", "convert", "plot")
}
CASES |= {f"data {name} without arguments": Case(f"data {name}") for name in BUILDERS}

(RECORDED,) = Path(__file__).parents[2].glob("*/recorded")  # the case that is carried along
WEIGHTS = "case/weights.safetensors"
CASE_DAMAGES = {
    "without weights": {WEIGHTS: removed},
    "without steps": {"case/forward.safetensors": removed},
    "of damaged weights": {WEIGHTS: flipped},
    "without a name": {"case/case.json": json_with(name=None)},
}
CASES |= {
    f"parity case {name}": Case(
        "parity --golden case",
        edits={"case": copy_of(RECORDED.as_posix()), **edits},
        needs=NEEDS_BOTH,
    )
    for name, edits in CASE_DAMAGES.items()
}
