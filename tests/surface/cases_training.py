"""What `hrm train` says."""

from cases import (
    NAMED_ARC,
    Case,
    copy_of,
    elsewhere,
    flipped,
    json_with,
    removed,
    replaced,
    shortened,
    text,
)

SMALL = (
    "--device cpu --dtype float32 --set model.hidden_size=8 --set model.halt_max_steps=2 "
    "--set train.global_batch_size=8 --set train.eval_examples=4 --set train.report_every=1"
)
DATA = "--data {kept}/data"
NEW = f"--run run {SMALL} --max-updates 2"
LIKE_ARC = (
    f"{NEW} --set model.seq_len=16 --set model.hidden_size=16 --set model.puzzle_emb_ndim=16 "
    "--set model.num_heads=2 --set model.H_layers=1 --set model.L_layers=1"
)
NEW_TASK = {
    "train": [{"input": [[8, 7]], "output": [[7, 8]]}],
    "test": [{"input": [[6]], "output": [[6]]}],
}
RESUME = f"train --run run --resume {DATA}/sudoku --device cpu --dtype float32"
WEIGHTS = "run/checkpoints/update_00000006/model.safetensors"
STATE = "run/checkpoints/update_00000006/state.json"
OLD = "run/checkpoints/update_00000004"
OTHER_MACHINE = {"run/config.yaml": replaced("hrm: 0.1.0", "hrm: 0.0.1")}  # it is always warned of


def train(words: str, **more: object) -> Case:
    return Case(f"train sudoku-4x4 {DATA}/sudoku --run run {SMALL} {words}", **more)


def resumed(words: str = "", edits: dict | None = None, **more: object) -> Case:
    edits = {**OTHER_MACHINE, **(edits or {})}
    return Case(f"{RESUME} {words}", copies={"run": "run"}, edits=edits, **more)


SETTINGS = {
    "unknown section": "modle.hidden_size=8",
    "unknown key": "model.hiden_size=8",
    "no value": "model.hidden_size",
    "no section": "hidden_size=8",
    "a word": "optim.lr=fast",
    "negative": "optim.lr=-1",
    "bad YAML": "optim.lr=[",
    "heads do not divide": "model.num_heads=3",
    "odd heads": "model.hidden_size=6 --set model.pos_encodings=rope",
    "no layers": "model.H_layers=0",
    "unknown loss": "model.loss_type=mse",
    "interval does not divide": "train.eval_interval=7",
    "batch of zero": "train.global_batch_size=0",
    "another vocabulary": "model.vocab_size=7",
    "batch larger than the data": "train.global_batch_size=4096",
    "several mistakes": "model.H_layers=0 --set optim.lr=x --set train.epochs=no",
    "micro batch of zero": "train.micro_batch_size=0",
}
CONFIGS = {
    "no YAML": "model: [",
    "a list": "- 1",
    "a word": "hello",
    "empty": "",
    "unknown section": "modle: {}",
    "section is a list": "model: [1]",
    "not UTF-8": b"\xff\xfe",
    "deeply nested": "[" * 1200,
    "a key twice": "train: {epochs: 1, epochs: 2}",
    "a key is a number": "1: {epochs: 1}",
    "a key is a list": "[1]: {epochs: 1}",
    "a tag": "train: !!python/name:os.system x",
    "a control character": "train: \x01",
}
CASES = {f"train set, {name}": train(f"--set {words}") for name, words in SETTINGS.items()}
CASES |= {
    f"train config, {name}": Case(f"train c.yaml {DATA}/sudoku {NEW}", files={"c.yaml": content})
    for name, content in CONFIGS.items()
}
CASES |= {
    "train without a config": Case(f"train {DATA}/sudoku --run run"),
    "train unknown preset": Case(f"train nope {DATA}/sudoku --run run"),
    "train a folder": Case(f"train . {DATA}/sudoku --run run"),
    "train empty path": Case("train '' --run run"),
    "train without a run": Case(f"train sudoku-4x4 {DATA}/sudoku"),
    "train without data": Case("train sudoku-4x4 --run run"),
    "train missing data": Case("train sudoku-4x4 --data nope --run run"),
    "train other data": Case(f"train sudoku-4x4 {DATA}/maze --run run"),
    "train no data": Case("train sudoku-4x4 --data . --run run"),
    "train no training split": Case(
        "train sudoku-4x4 --data data --run run",
        copies={"data": "data/sudoku"},
        edits={"data/train": removed},
    ),
    "train splits of two sizes": Case(
        "train grids-small --data data --run run",
        copies={"data/train": "data/sudoku/train", "data/test": "data/maze/test"},
    ),
    "train damaged data": Case(
        "train sudoku-4x4 --data data --run run",
        copies={"data": "data/sudoku"},
        edits={"data/train/all__labels.npy": shortened},
    ),
    "train in a used run": train("", copies={"run": "run"}),
    "train run in use": train("", copies={"run": "run"}, held="run/.lock"),
    "train run is a file": train("", files={"run": ""}),
    "train no updates": train("--max-updates 0"),
    "train no learning rate": train("--lr fast"),
    "train a preset of other boards": Case(f"train sudoku-9x9 {DATA}/sudoku --run run"),
    "train steps": train("--steps 9"),
    "train learning rate": train("--learning-rate 1e-4"),
    "train wandb": train("--wandb", absent=("wandb",)),
    "train a setting as an option": train("--weight-decay 0.1"),
    "train unknown option": train("--frobnicate"),
    "train plan of shorthands": train(
        "--seed 3 --lr 1e-4 --epochs 40 --batch-size 8 --dry-run", masked=True
    ),
    "train no micro batch": train("--micro-batch 0"),
    "train unknown backend": train("--backend jax"),
    "train unknown dtype": train("--dtype float8"),
    "train float64 in MLX": train("--dtype float64"),
    "train attention of torch": train("--attention flash2"),
    "train attention that torch lacks": train(
        "--backend torch --attention flash2", needs=("torch",)
    ),
    "train without TensorBoard": train("--tensorboard", absent=("tensorboardX",)),
    "train plan": train("--dry-run", masked=True),
    "train": train("--max-updates 2", masked=True),
    "train in torch": train("--max-updates 2 --backend torch", masked=True, needs=("torch",)),
    "train in micro batches": train("--max-updates 1 --micro-batch 4", masked=True),
    "train without a test split": Case(
        f"train sudoku-4x4 --data data {NEW}",
        copies={"data": "data/sudoku"},
        edits={"data/test": removed},
        masked=True,
    ),
    "train maze": Case(f"train maze-10x10 {DATA}/maze {NEW} --set model.seq_len=36", masked=True),
    "train arc": Case(
        f"train arc-6x6 {DATA}/arc {NEW} --set model.seq_len=16 --set model.puzzle_emb_ndim=8",
        masked=True,
    ),
    "train grids": Case(f"train grids-small {DATA}/grids {NEW}", masked=True),
    "train diverges": train(
        "--max-updates 9 --set optim.lr=1e30 --set optim.lr_warmup_steps=0", masked=True
    ),
    "train from a model": train(
        "--max-updates 1 --init {kept}/sudoku.safetensors --set model.hidden_size=20 "
        "--set model.halt_max_steps=3",
        masked=True,
    ),
    "train from a model of another shape": train("--init {kept}/sudoku.safetensors"),
    "train from a model of another task": train("--init {kept}/maze.safetensors"),
    "train from no model": train("--init nope"),
    "train from a folder": train("--init {kept}/data"),
    "train from a model of the same puzzles": Case(
        f"train arc-6x6 {DATA}/arc {LIKE_ARC} --init {{kept}}/arc", masked=True
    ),
    "train from a model of nameless puzzles": Case(
        f"train arc-6x6 --data more {LIKE_ARC} --init {{kept}}/arc",
        before="data arc more --tasks {kept}/sources/arc --canvas 4 --augment 9",
    ),
    "train from a model of fewer puzzles": Case(
        f"train arc-6x6 --data data {LIKE_ARC} --init old",
        copies=NAMED_ARC | {"data": "data/arc"},
        files={"new/cc.json": NEW_TASK},
        before="data arc data --add new",
        masked=True,
    ),
    "train from a model of other puzzles": Case(
        f"train arc-6x6 --data data {LIKE_ARC} --init old",
        copies=NAMED_ARC | {"data": "data/arc"},
        edits={"data/identifiers.json": replaced("bb_t", "cc_t")},
    ),
    "train names unknown": Case(
        f"train arc-6x6 --data data {NEW} --set model.seq_len=16 --init {{kept}}/arc",
        copies={"data": "data/arc"},
        edits={"data/identifiers.json": text("{")},
    ),
    "resume a finished run": resumed(masked=True),
    "resume": resumed(edits={"run/checkpoints/update_00000006": removed}, masked=True),
    "resume after damage": resumed(edits={WEIGHTS: shortened}, masked=True),
    "resume, newest has another byte": resumed(edits={WEIGHTS: flipped}, masked=True),
    "resume, state is no JSON": resumed(edits={STATE: text("{")}, masked=True),
    "resume, state was changed": resumed(edits={STATE: json_with(update=7)}, masked=True),
    "resume, none is whole": resumed(edits={OLD: removed, WEIGHTS: shortened}),
    "resume without checkpoints": resumed(edits={"run/checkpoints": removed}, masked=True),
    "resume with a preset": Case("train sudoku-4x4 --run run --resume", copies={"run": "run"}),
    "resume with a setting": Case(
        "train --run run --resume --set optim.lr=1", copies={"run": "run"}
    ),
    "resume with a shorthand": Case("train --run run --resume --lr 1", copies={"run": "run"}),
    "resume with a model": Case("train --run run --resume --init run", copies={"run": "run"}),
    "resume with updates": Case("train --run run --resume --max-updates 9", copies={"run": "run"}),
    "resume nothing": Case("train --run run --resume"),
    "resume, no config": Case(RESUME, copies={"run": "run"}, edits={"run/config.yaml": removed}),
    "resume, config damaged": Case(
        RESUME, copies={"run": "run"}, edits={"run/config.yaml": text("model: [")}
    ),
    "resume with other data": Case(
        f"train --run run --resume {DATA}/sudoku-csv", copies={"run": "run"}
    ),
    "resume, data are gone": Case(
        "train --run run --resume",
        copies={"run": "run"},
        edits={"run/config.yaml": elsewhere},
    ),
    "resume in use": Case(RESUME, copies={"run": "run"}, held="run/.lock"),
}
CASES["resume a converted model"] = Case(
    RESUME,
    copies={"run/config.yaml": "run/config.yaml", "run/checkpoints/update_00000006": "arc"},
    edits=OTHER_MACHINE,
)
FROM_MODEL = (
    f"train sudoku-4x4 {DATA}/sudoku --run run {SMALL} --set model.hidden_size=20 "
    "--max-updates 1 --init m.safetensors"
)
CASES |= {
    "resume, its first model has changed": Case(
        RESUME,
        copies={"m.safetensors": "sudoku.safetensors"},
        before=FROM_MODEL,
        edits={
            "run/checkpoints": removed,
            "run/config.yaml": replaced("hrm: 0.1.0", "hrm: 0.0.1"),
            "m.safetensors": copy_of("run/checkpoints/update_00000004/model.safetensors"),
        },
    ),
    "train in two processes with MLX": train("", settings={"WORLD_SIZE": "2", "RANK": "0"}),
    "train task is a number": Case(
        f"train sudoku-4x4 --data data {NEW}",
        copies={"data": "data/sudoku"},
        edits={"data/build.json": json_with(task=7)},
        masked=True,
    ),
}
