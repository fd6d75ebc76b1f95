import contextlib
import hashlib
import io
import os
import signal
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import NamedTuple

import pytest
import setuptools  # noqa: F401 - before any test compiles with torch: it must be imported before distutils
from hrm_cli.main import main

import hrm_mlx  # noqa: F401 - before any test imports mlx: it brings the fast BLAS
from hrm_core import process
from hrm_tasks.sudoku.build import Options, build

sys.path.insert(0, str(Path(__file__).parent))  # tests are no packages here
pytest.register_assert_rewrite("two_processes")
process.limit_spinning()  # before any test imports torch
# what tests compile is of no use to the user
os.environ.setdefault(
    "TORCHINDUCTOR_CACHE_DIR", str(Path(tempfile.gettempdir(), "hrm-mlx-tests-torchinductor"))
)
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    # tests in the background of a shell: their child processes would ignore Ctrl-C, too
    signal.signal(signal.SIGINT, signal.default_int_handler)

REPOSITORY = Path(__file__).parent.parent
HUB_COMMIT = "0123456789abcdef0123456789abcdef01234567"
TINY = """\
model:
  puzzle_emb_ndim: 32
  H_layers: 1
  L_layers: 1
  hidden_size: 32
  num_heads: 2
  pos_encodings: learned
  halt_max_steps: 2
  halt_exploration_prob: 0.5
optim:
  lr: 3e-3
  lr_warmup_steps: 5
  lr_min_ratio: 0.1
  weight_decay: 0.1
  puzzle_emb_lr: 1e-2
train:
  global_batch_size: 16
  epochs: 40
  eval_interval: 10
  max_updates: 24
  eval_examples: 10
  report_every: 3
  save_every_updates: 5
  keep_checkpoints: 2
"""


class Outcome(NamedTuple):
    """What a command did."""

    status: int
    out: str
    err: str


@pytest.fixture
def umask() -> Iterator[Callable[[int], int]]:
    """Set the umask, as `os.umask` does, until the end of the test."""
    before = os.umask(0o022)
    yield os.umask
    os.umask(before)


@dataclass
class FakeHub:
    """What the server serves, what goes wrong, and what it was asked."""

    files: dict[str, bytes] = field(
        default_factory=dict
    )  # path below /resolve/<revision>/ with the repository in front
    statuses: list[tuple[int, str]] = field(
        default_factory=list
    )  # answers given before any other: status, X-Error-Code
    cuts: list[int] = field(default_factory=list)  # bytes after which a body breaks off, once each
    num_damaged: int = 0  # bodies that are changed on the way
    git_etag: bool = False  # as small files have it: no hash of the content
    headers: dict[str, str] = field(default_factory=dict)  # in place of the right ones
    asked: list[tuple[str, str, str]] = field(default_factory=list)  # method, path, Range
    get_statuses: list[int] = field(default_factory=list)
    environment: dict[str, str] = field(
        default_factory=dict
    )  # that leads a command to this server, and to a cache of the test's own

    def count(self, method: str) -> int:
        """Requests for files; the package asks for lists of its own besides."""
        return sum(asked == method and "/resolve/" in path for asked, path, _ in self.asked)


class HubHandler(BaseHTTPRequestHandler):
    """HEAD and GET /{repository}/resolve/{revision}/{file}."""

    hub: FakeHub

    def do_HEAD(self) -> None:
        self._answer(with_body=False)

    def do_GET(self) -> None:
        self._answer(with_body=True)

    def log_message(self, *arguments: object) -> None:
        pass

    def _answer(self, with_body: bool) -> None:
        served = self.hub
        served.asked.append((self.command, self.path, self.headers.get("Range", "")))
        if with_body and served.get_statuses:
            self._refuse(served.get_statuses.pop(0), "")
            return
        if served.statuses:
            self._refuse(*served.statuses.pop(0))
            return
        repository, _, rest = self.path.lstrip("/").partition("/resolve/")
        revision, _, name = rest.partition("/")
        if repository not in {path.rpartition(":")[0] for path in served.files}:
            self._refuse(404, "RepoNotFound")
        elif revision not in ("main", HUB_COMMIT, "v1"):
            self._refuse(404, "RevisionNotFound")
        elif f"{repository}:{name}" not in served.files:
            self._refuse(404, "EntryNotFound")
        else:
            self._serve(served.files[f"{repository}:{name}"], with_body)

    def _refuse(self, status: int, code: str) -> None:
        self.send_response(status)
        self.send_header("X-Error-Code", code)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def _serve(self, content: bytes, with_body: bool) -> None:
        etag = "a" * 40 if self.hub.git_etag else hashlib.sha256(content).hexdigest()
        start = int(self.headers.get("Range", "bytes=0-").removeprefix("bytes=").partition("-")[0])
        body = content[start:]
        self.send_response(206 if start else 200)
        etags = {"ETag": f'"{etag}"', "X-Linked-Etag": f'"{etag}"'}
        for name, value in {**etags, "X-Repo-Commit": HUB_COMMIT, **self.hub.headers}.items():
            self.send_header(name, value)
        self.send_header("X-Linked-Size", str(len(content)))
        self.send_header("Accept-Ranges", "bytes")
        self.send_header("Content-Length", str(len(body)))
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
        self.end_headers()
        if with_body:
            if self.hub.num_damaged:
                self.hub.num_damaged -= 1
                body = bytes([body[0] ^ 1]) + body[1:]
            if self.hub.cuts:
                body = body[: self.hub.cuts.pop(0)]
                self.close_connection = True
            self.wfile.write(body)


def run_command(*arguments: str | Path, stdin: str = "") -> Outcome:
    out, err = io.StringIO(), io.StringIO()
    with (
        pytest.MonkeyPatch.context() as patch,
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
    ):
        patch.setattr(sys, "argv", ["hrm", *map(str, arguments)])
        patch.setattr(sys, "stdin", io.StringIO(stdin))
        status = main()
    return Outcome(status, out.getvalue(), err.getvalue())


@pytest.fixture(scope="session")
def hrm() -> Callable[..., Outcome]:
    """Run a command in this process."""
    return run_command


@pytest.fixture(scope="session")
def refusal() -> Callable[..., str]:
    """Run a command that must be refused: exit status 2, nothing on stdout, one line on stderr. Returns: the line."""

    def refused(*arguments: str | Path, stdin: str = "") -> str:
        outcome = run_command(*arguments, stdin=stdin)
        assert (outcome.status, outcome.out) == (2, "")
        assert outcome.err.startswith("hrm: ")
        assert outcome.err.endswith("\n")
        assert len(outcome.err.splitlines()) == 1
        return outcome.err.removeprefix("hrm: ").rstrip()

    return refused


@pytest.fixture(scope="session")
def tiny_config(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A config file for a model that trains in a second."""
    path = tmp_path_factory.mktemp("config") / "tiny.yaml"
    path.write_text(TINY)
    return path


@pytest.fixture(scope="session")
def tiny_data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """60 puzzles of 4x4, each twice, and 20 to test with."""
    directory = tmp_path_factory.mktemp("data") / "4x4"
    build(directory, Options(size=4, generate=60, test=20, givens=(6, 10), augment=1))
    return directory


@pytest.fixture(scope="session")
def tiny_run(tmp_path_factory: pytest.TempPathFactory, tiny_config: Path, tiny_data: Path) -> Path:
    """A finished run; copy it before changing anything in it."""
    directory = tmp_path_factory.mktemp("runs") / "tiny"
    outcome = run_command(
        "train", tiny_config, "--data", tiny_data, "--run", directory, "--device", "cpu"
    )
    assert outcome.status == 0, outcome.err
    return directory


@pytest.fixture
def fake_hub(tmp_path: Path) -> Iterator[FakeHub]:
    """A running server that speaks the Hub's file API."""
    pytest.importorskip(
        "huggingface_hub", reason="huggingface_hub is missing: fetching from the Hub is not tested"
    )
    served = FakeHub()
    server = ThreadingHTTPServer(
        ("127.0.0.1", 0), type("BoundHandler", (HubHandler,), {"hub": served})
    )
    served.environment = {
        **os.environ,
        "HF_ENDPOINT": f"http://127.0.0.1:{server.server_port}",
        "HF_HOME": str(tmp_path / "hf"),
        "HF_HUB_CACHE": str(tmp_path / "hf" / "hub"),
        "HF_HUB_OFFLINE": "0",
        "HF_HUB_DISABLE_IMPLICIT_TOKEN": "1",
    }
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    yield served
    server.shutdown()
    server.server_close()


@pytest.fixture(scope="session")
def golden_dir() -> Path:
    """Recorded runs of the published code: HRM_GOLDEN, or shared/golden beside the repository."""
    return _given_directory("HRM_GOLDEN", REPOSITORY.parent / "shared" / "golden")


@pytest.fixture(scope="session")
def data_dir() -> Path:
    """Published puzzles: HRM_DATA, or shared/data beside the repository."""
    return _given_directory("HRM_DATA", REPOSITORY.parent / "shared" / "data")


@pytest.fixture(scope="session")
def cases_dir() -> Path:
    """Small files as people have them: HRM_CASES, or shared/cases beside the repository."""
    return _given_directory("HRM_CASES", REPOSITORY.parent / "shared" / "cases")


def _given_directory(variable: str, default: Path) -> Path:
    directory = Path(os.environ.get(variable, default))
    if not directory.is_dir():
        pytest.skip(f"{directory} is missing; {variable} says where it is")
    return directory
