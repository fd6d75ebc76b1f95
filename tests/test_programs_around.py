"""Programs that fork, and programs that train in a thread of their own."""

import json
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from importlib import import_module
from pathlib import Path

import pytest
from hrm_cli.main import hrm as group

# argv: the package of a backend, a model. A child loads; the parent loads; another child uses both.
FORKING = """
import os, sys
from importlib import import_module

load = import_module(sys.argv[1]).load
PUZZLE = "1... ..2. .3.. ...4"

def in_a_child(*ways):
    child = os.fork()
    if child:
        os.waitpid(child, 0)
        return
    for way in ways:
        try:
            print(len(way()[0].answer))
        except BaseException as error:
            print(type(error).__name__, error)
    sys.stdout.flush()
    os._exit(0)

def load_and_solve():
    return load(sys.argv[2]).solve(PUZZLE)

in_a_child(load_and_solve)
model = load(sys.argv[2])
in_a_child(lambda: model.solve(PUZZLE), load_and_solve)
sys.stdout.flush()
print(len(model.solve(PUZZLE)[0].answer))
"""


@pytest.mark.parametrize(("package", "needs"), [("hrm_mlx", "mlx"), ("hrm_torch_ref", "torch")])
def test_model_loaded_before_a_fork_is_refused_in_the_child_at_once(
    package: str, needs: str, tiny_run: Path
) -> None:
    pytest.importorskip(needs)
    command = [sys.executable, "-c", FORKING, package, str(tiny_run)]
    ran = subprocess.run(command, capture_output=True, text=True, check=True, timeout=120)
    loaded_in_the_child, inherited, loaded_again, parent = ran.stdout.splitlines()
    assert (loaded_in_the_child, parent) == ("16", "16")
    for refused in (inherited, loaded_again):
        assert refused.startswith("BackendError a model was loaded before this process was forked")
        assert "load in the child, or start it by spawn" in refused


@pytest.mark.parametrize(("package", "needs"), [("hrm_mlx", "mlx"), ("hrm_torch_ref", "torch")])
def test_threads_share_a_model(package: str, needs: str, tiny_run: Path) -> None:
    pytest.importorskip(needs)
    model = import_module(package).load(tiny_run)

    def answer(puzzle: str) -> list[int]:
        return model.solve(puzzle)[0].answer.tolist()

    puzzles = [f"{'.' * cell}{digit}{'.' * (15 - cell)}" for cell in range(16) for digit in (1, 2)]
    with ThreadPoolExecutor(4) as threads:
        assert list(threads.map(answer, puzzles)) == list(map(answer, puzzles))


@pytest.mark.parametrize("backend", ["mlx", "torch"])
def test_training_begun_by_a_thread_is_that_of_the_main_thread(
    backend: str, tiny_config: Path, tiny_data: Path, tmp_path: Path
) -> None:
    pytest.importorskip(backend)
    train = ["train", tiny_config, "--data", tiny_data, "--max-updates", "4", "--device", "cpu"]
    statuses = []

    def begin(name: str) -> None:
        command = [*map(str, train), "--backend", backend, "--run", str(tmp_path / name)]
        statuses.append(group.main(command, standalone_mode=False))

    begin("main")
    thread = threading.Thread(target=begin, args=("thread",))
    thread.start()
    thread.join()
    assert statuses == [0, 0]
    logs = [(tmp_path / name / "log.jsonl").read_text() for name in ("main", "thread")]
    losses = [[json.loads(line).get("lm_loss") for line in log.splitlines()] for log in logs]
    assert losses[0] == losses[1]
    assert any(losses[0])
