"""What the commands of one commit wrote, and the answers they gave; later commits must agree.

    PYTHONPATH=tests/surface python tests/kept/kept.py make    writes data sets, models and record
    PYTHONPATH=tests/surface python tests/kept/kept.py record  writes record.json again

Each command runs in this folder; {out} is the path it writes.
"""

import hashlib
import json
import shlex
import shutil
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from command import Outcome, run

FOLDER = Path(__file__).parent
RECORD = FOLDER / "record.json"
SHIPPED = "../../models/sudoku-9x9.safetensors"
BOARD = "53..7.... 6..195... .98....6. 8...6...3 4..8.3..1 7...2...6 .6....28. ...419..5 ....8..79"
MAZE = "sources/maze.txt"
ARC = "sources/arc/evaluation/bb.json"
ON_CPU = "--device cpu --dtype float32"

DATA = {
    "sudoku": "data sudoku {out} --generate 24 --size 4 --test 8 --givens 6 10 --augment 1",
    "sudoku-csv": "data sudoku {out} --train-csv sources/sudoku-train.csv "
    "--test-csv sources/sudoku-test.csv --subsample 5 --augment 2 --min-rating 1 --seed 3",
    "maze": "data maze {out} --generate 12 --size 6 --test 4 --augment 1",
    "maze-csv": "data maze {out} --train-csv sources/maze-train.csv "
    "--test-csv sources/maze-test.csv --subsample 4 --augment 7 --seed 3",
    "arc": "data arc {out} --tasks sources/arc --canvas 4 --augment 3",
    "grids": "data grids {out} sources/grids.jsonl --test-share 0.3 --augment 1",
}
SHORT = (
    f"{ON_CPU} --set model.halt_max_steps=3 --set optim.lr_warmup_steps=2 "
    "--set train.global_batch_size=16"
)
ONE_LAYER = f"{SHORT} --set model.H_layers=1 --set model.L_layers=1 --set model.num_heads=2"
SMALL = f"{ONE_LAYER} --set model.hidden_size=8 --set model.puzzle_emb_ndim=8"
LEARNED = (
    f"{ONE_LAYER} --set model.hidden_size=16 --set model.puzzle_emb_ndim=16 "
    "--set optim.lr=5e-3 --set optim.puzzle_emb_lr=3e-2"  # enough for answers that agree
)
RUN = (
    f"train sudoku-4x4 --data data/sudoku --run {{out}} {SHORT} --set model.hidden_size=20 "
    "--set train.max_updates=6 --set train.report_every=1 --set train.eval_examples=8 "
    "--set train.save_every_updates=2 --set train.keep_checkpoints=2"
)
TRAINED = {  # in a temporary folder; what `hrm convert` makes of them is kept
    "maze": f"train maze-10x10 --data data/maze --run {{out}} {SMALL} --set model.seq_len=36 "
    "--max-updates 60",
    "arc": f"train arc-6x6 --data data/arc --run {{out}} {LEARNED} --set model.seq_len=16 "
    "--max-updates 300",
    "grids": f"train grids-small --data data/grids --run {{out}} {SMALL} --max-updates 60",
}
CONVERTED = {
    "sudoku.safetensors": "convert run {out}",
    "maze.safetensors": "convert {tmp}/maze {out} --dtype bfloat16",
    "grids.safetensors": "convert {tmp}/grids {out}",
    "arc": "convert {tmp}/arc {out} --to checkpoint",
}
EVALUATED = {
    "run": "eval run --data data/sudoku --halt fixed",
    "run, votes": "eval run --data data/sudoku --halt both --votes 4 --choose rules",
    "run, noise": "eval run --data data/sudoku --noise 0.1 --rollouts 2 --choose q --halt fixed",
    "run, training split": "eval run --data data/sudoku --split train --limit 5 --halt fixed",
    "two models": "eval run sudoku.safetensors --data data/sudoku --halt fixed --choose rules",
    "published order": "eval sudoku.safetensors --data data/sudoku-csv --halt fixed",
    "maze": "eval maze.safetensors --data data/maze --votes 8 --halt fixed --choose rules",
    "maze, csv": "eval maze.safetensors --data data/maze-csv --halt fixed",
    "arc": "eval arc --data data/arc --halt both",
    "arc, training split": "eval arc --data data/arc --split train --halt fixed",
    "grids": "eval grids.safetensors --data data/grids --halt fixed",
}
SOLVED = {
    "run": "solve run '1... ..2. .3.. ...4' '12.. .... .... ..12' --steps 3",
    "run, fixed": "solve run '1... ..2. .3.. ...4' --halt fixed --votes 4",
    "maze": f"solve maze.safetensors {MAZE} --votes 8 --steps 3",
    "arc": f"solve arc {ARC} --data data/arc",
    "arc, trained": "solve arc sources/arc/training/aa.json --data data/arc",
    "arc, votes": f"solve arc {ARC} --data data/arc --votes 2 --halt fixed",
    "arc, blank": "solve arc '[[1, 2], [3, 4]]' --identifier blank --steps 3",
    "grids": "solve grids.safetensors 'abab/bbaa' --identifier mirror --data data/grids",
    "shipped": f"solve {SHIPPED} '{BOARD}'",
}
ANSWERS = {f"eval {name}": text for name, text in EVALUATED.items()}
ANSWERS |= {f"solve {name}": text for name, text in SOLVED.items()}
SUBMISSION = "eval arc --data data/arc --submission {out}"
WRITTEN = {  # there and back; {name} is what the line before wrote
    "checkpoint": "convert sudoku.safetensors {tmp}/checkpoint --to checkpoint",
    "back.safetensors": "convert {tmp}/checkpoint {tmp}/back.safetensors",
    "half.safetensors": "convert run {tmp}/half.safetensors --dtype bfloat16",
    "wide.safetensors": "convert run {tmp}/wide.safetensors --vocab-size 8 --seq-len 36 --seed 5",
    "arc.safetensors": "convert arc {tmp}/arc.safetensors",
}
VARIES = ("seconds", "examples_per_second", "memory_gib")


def hrm(text: str, **places: Any) -> Outcome:
    """Run a command of this file in this folder."""
    return run(shlex.split(text.format(**places)), FOLDER)


def checked(text: str, **places: Any) -> Outcome:
    """Run a command that must succeed; `solve` may say that an answer is wrong."""
    outcome = hrm(text, **places)
    most = 1 if text.startswith("solve") else 0
    assert outcome.status <= most, outcome.err
    return outcome


def hashes(folder: Path) -> dict[str, str]:
    """SHA-256 of every file below a folder, or of one file."""
    if folder.is_file():
        return {folder.name: _hash(folder)}
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): _hash(path) for path in files}


def _hash(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def answers(text: str, extra: str = ON_CPU) -> Any:
    """Parse what `eval --json` or `solve --json` prints, without times."""
    outcome = checked(f"{text} --json {extra}")
    lines = [without_times(json.loads(line)) for line in outcome.out.splitlines()]
    return {"status": outcome.status, "lines": lines}


def without_times(value: Any) -> Any:
    """Leave out what differs from run to run, at every depth."""
    if isinstance(value, dict):
        return {key: without_times(part) for key, part in value.items() if key not in VARIES}
    if isinstance(value, list):
        return [without_times(part) for part in value]
    return value


def forget_hashes(folder: Path) -> None:
    """Take the hashes of its files out of build.json, which the kept data sets do not have."""
    path = folder / "build.json"
    build = json.loads(path.read_text())
    hashed = build.pop("sha256")
    assert hashed == {name: hashes(folder)[name] for name in hashed}
    path.write_text(json.dumps(build, indent=2, ensure_ascii=False) + "\n")


def inspected(name: str) -> Any:
    """Parse what `inspect --json` prints of a kept data set."""
    return json.loads(checked(f"data inspect data/{name} --json").out)


def log_lines(run_folder: Path) -> list[Any]:
    """Records of a run's log, without times."""
    lines = (run_folder / "log.jsonl").read_text().splitlines()
    return [without_times(json.loads(line)) for line in lines]


def state_keys(checkpoint: Path) -> list[str]:
    """Names in state.json, two levels deep."""
    state = json.loads((checkpoint / "state.json").read_text())
    deeper = {key: value for key, value in state.items() if isinstance(value, dict)}
    return sorted([*state, *(f"{key}.{part}" for key, value in deeper.items() for part in value)])


def safetensors_header(path: Path) -> dict[str, Any]:
    """Names in stored order, dtypes, shapes and metadata of a safetensors file."""
    content = path.read_bytes()
    length = int.from_bytes(content[:8], "little")
    return json.loads(content[8 : 8 + length])


def make() -> None:
    """Write data sets, the run and the models."""
    for name in ("data", "run", "arc"):
        shutil.rmtree(FOLDER / name, ignore_errors=True)
    for path in FOLDER.glob("*.safetensors"):
        path.unlink()
    for name, text in DATA.items():
        checked(text, out=f"data/{name}")
    checked(RUN, out="run")
    (FOLDER / "run" / ".lock").unlink(missing_ok=True)
    with tempfile.TemporaryDirectory() as tmp:
        for name, text in TRAINED.items():
            checked(text, out=f"{tmp}/{name}")
        for name, text in CONVERTED.items():
            checked(text, out=name, tmp=tmp)


def record() -> None:
    """Write record.json from what is in this folder."""
    kept = {name: hashes(FOLDER / name) for name in ("run", *CONVERTED)}
    checkpoints = sorted((FOLDER / "run" / "checkpoints").iterdir())
    with tempfile.TemporaryDirectory() as tmp:
        written = convert_all(Path(tmp))
        checked(SUBMISSION, out=f"{tmp}/submission.json")
        submission = json.loads(Path(tmp, "submission.json").read_text())
    found = {
        "data": {name: hashes(FOLDER / "data" / name) for name in DATA},
        "inspect": {name: inspected(name) for name in DATA},
        "kept": kept,
        "state keys": state_keys(checkpoints[-1]),
        "log": log_lines(FOLDER / "run"),
        "answers": {name: answers(text) for name, text in ANSWERS.items()},
        "submission": submission,
        "written": written,
        "shipped": hashes(FOLDER / SHIPPED),
    }
    RECORD.write_text(json.dumps(found, indent=1) + "\n")


def convert_all(tmp: Path) -> dict[str, dict[str, str]]:
    """Run the conversions. Returns: hashes of the files of each."""
    for text in WRITTEN.values():
        checked(text, tmp=tmp)
    return {name: hashes(tmp / name) for name in WRITTEN}


def main(words: Sequence[str]) -> None:
    """Do what the command line says."""
    if words == ["make"]:
        make()
    if words not in (["make"], ["record"]):
        raise SystemExit(__doc__)
    record()


if __name__ == "__main__":
    main(sys.argv[1:])
