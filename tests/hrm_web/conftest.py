import contextlib
import json
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from subprocess import PIPE
from typing import Any

import pytest

import hrm_mlx
from hrm_core.backend import BackendOptions
from hrm_core.backends import BackendMaker
from hrm_core.config import ModelConfig
from hrm_core.inference.solving import Solver
from hrm_core.parameters import initial_values
from hrm_core.runs.checkpoint import Model, find_model, load_model, save_model
from hrm_core.runs.shipped import shipped_models
from hrm_core.tasks.pictures import PictureSettings
from hrm_core.tasks.registry import label_of
from hrm_tasks.xray.task import Xray

CPU = BackendOptions("cpu", "float32")
SHIPPED = "sudoku-9x9"
HERE = "http://127.0.0.1"
SMALL: dict[str, Any] = {
    "puzzle_emb_ndim": 0,
    "H_cycles": 1,
    "L_cycles": 1,
    "H_layers": 1,
    "L_layers": 1,
    "hidden_size": 16,
    "num_heads": 2,
    "pos_encodings": "learned",
    "halting": "fixed",
    "loss_type": "softmax_cross_entropy",
    "forward_dtype": "float32",
}
LOCAL = BackendMaker("mlx", "cpu", "float32")


class Page:
    """A client of one served model, and what it calls most."""

    def __init__(self, client: Any) -> None:
        self.client = client

    def post(self, path: str, **fields: Any) -> Any:
        return self.client.post(path, content=json.dumps(fields))

    def refusal(self, path: str, **fields: Any) -> str:
        answer = self.post(path, **fields)
        assert answer.status_code == 400, answer.text
        line = answer.json()["error"]
        assert len(line.splitlines()) == 1
        return str(line)

    def events(self, path: str, **fields: Any) -> list[tuple[str, Any]]:
        answer = self.post(path, **fields)
        assert answer.headers["content-type"].startswith("text/event-stream"), answer.text
        return events_in(answer.text)


def events_in(text: str) -> list[tuple[str, Any]]:
    found = re.findall(r"^event: (.*)\ndata: (.*)\n$", text, flags=re.MULTILINE)
    return [(name, json.loads(data)) for name, data in found]


@contextlib.contextmanager
def serving(site: Any) -> Iterator[Page]:
    from starlette.testclient import TestClient

    from hrm_web.server import make_app
    from hrm_web.worker import Worker

    worker = Worker(lambda: site.solver(LOCAL))
    worker.start()
    with TestClient(make_app(site, worker, "127.0.0.1"), HERE) as client:
        yield Page(client)


def untrained_site(config: ModelConfig, task: str, files: Any = None) -> Any:
    """Make a model of initial weights."""
    from hrm_web.site import Site

    path = Path("untrained.safetensors")
    model = Model(config, task, initial_values(config, seed=1), path, "", files or {})
    return Site.of(path, model)


@pytest.fixture(scope="session")
def picture_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An untrained model that looks for one finding in pictures of 8 x 8."""
    task = Xray(PictureSettings(labels=("Pneumonia",), size=(8, 8), patch=4))
    config = ModelConfig(
        vocab_size=task.vocab_size,
        seq_len=task.seq_len,
        num_puzzle_identifiers=1,
        image_size=(8, 8),
        patch_size=4,
        halt_max_steps=1,
        **SMALL,
    )
    path = tmp_path_factory.mktemp("pictures") / "xray.safetensors"
    save_model(path, config, label_of(task), initial_values(config, seed=1))
    return path


@pytest.fixture(scope="session")
def served() -> Callable[..., contextlib.AbstractContextManager[Page]]:
    return serving


@pytest.fixture(scope="session")
def untrained() -> Callable[..., Any]:
    return untrained_site


@pytest.fixture(scope="session")
def site_of() -> Callable[..., Any]:
    """Open a model by its path."""
    from hrm_web.site import Site

    return lambda path, data=None: Site.of(path, load_model(find_model(path)), data)


@pytest.fixture(scope="session")
def page() -> Iterator[Page]:
    """The model that comes with the package."""
    from hrm_web.site import Site

    path = shipped_models()[SHIPPED]
    with serving(Site.of(path, load_model(path))) as found:
        yield found


@pytest.fixture(scope="session")
def solver() -> Solver:
    """The same model without a server."""
    return hrm_mlx.load(SHIPPED, CPU)


@pytest.fixture(scope="module")
def running() -> Iterator[Callable[..., tuple[subprocess.Popen[str], str]]]:
    """Start `hrm serve` as a process of its own. Returns: the process and its address."""
    processes = []

    def start(*arguments: str | Path) -> tuple[subprocess.Popen[str], str]:
        command = [sys.executable, "-m", "hrm_cli", "serve", "--port", "0", "--device", "cpu"]
        process = subprocess.Popen([*command, *arguments], stdout=PIPE, stderr=PIPE, text=True)
        processes.append(process)
        assert process.stdout is not None
        line = process.stdout.readline()
        address = re.search(r"http://\S+(?=/)", line)
        assert address, line
        return process, address[0]

    yield start
    for process in processes:
        if process.poll() is None:
            process.send_signal(signal.SIGKILL)
        process.communicate()
