"""Files of the Hub, from a server on this machine that speaks its file API: etag, resume, trouble, and damage on the way."""

import hashlib
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest

from hrm_core import hub
from hrm_core.errors import BackendError
from hrm_core.hub import HubError, fetch

constants = pytest.importorskip("huggingface_hub.constants", reason="huggingface_hub is missing: fetching from the Hub is not tested")

COMMIT = "0123456789abcdef0123456789abcdef01234567"
LARGE = np.random.default_rng(0).bytes(300_000)


@dataclass
class FakeHub:
    """What the server serves, what goes wrong, and what it was asked."""

    files: dict[str, bytes] = field(default_factory=dict)  # path below /resolve/<revision>/ with the repository in front
    statuses: list[tuple[int, str]] = field(default_factory=list)  # answers given before any other: status, X-Error-Code
    cuts: list[int] = field(default_factory=list)  # bytes after which a body breaks off, once each
    damage: bool = False
    git_etag: bool = False  # as small files have it: no hash of the content
    asked: list[tuple[str, str, str]] = field(default_factory=list)  # method, path, Range
    get_statuses: list[int] = field(default_factory=list)

    def count(self, method: str) -> int:
        """Requests for files; the package asks for lists of its own besides."""
        return sum(asked == method and "/resolve/" in path for asked, path, _ in self.asked)


class Handler(BaseHTTPRequestHandler):
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
        elif revision not in ("main", COMMIT, "v1"):
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
        self.send_header("ETag", f'"{etag}"')
        self.send_header("X-Linked-Etag", f'"{etag}"')
        self.send_header("X-Linked-Size", str(len(content)))
        self.send_header("X-Repo-Commit", COMMIT)
        self.send_header("Accept-Ranges", "bytes")
        self.send_header("Content-Length", str(len(body)))
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
        self.end_headers()
        if with_body:
            if self.hub.damage:
                body = bytes([body[0] ^ 1]) + body[1:]
            if self.hub.cuts:
                body = body[: self.hub.cuts.pop(0)]
                self.close_connection = True
            self.wfile.write(body)


@pytest.fixture
def served(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeHub]:
    """A running server, and huggingface_hub told to use it and a cache of this test's own."""
    served = FakeHub({"owner/model:checkpoint": LARGE, "owner/model:sub/folder/x.csv": b"a,b\n", "datasets/owner/puzzles:train.csv": LARGE})
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("BoundHandler", (Handler,), {"hub": served}))
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    endpoint = f"http://127.0.0.1:{server.server_port}"
    monkeypatch.setattr(constants, "ENDPOINT", endpoint)
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", endpoint + "/{repo_id}/resolve/{revision}/{filename}")
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_IMPLICIT_TOKEN", True)
    monkeypatch.setattr(constants, "AGENT_HARNESSES_PATH", str(tmp_path / "harnesses.json"), raising=False)  # written into HF_HOME
    monkeypatch.setattr("time.sleep", lambda seconds: None)
    yield served
    server.shutdown()
    server.server_close()


def test_file_is_fetched_once_and_then_known_by_its_etag(served: FakeHub) -> None:
    path = fetch("owner/model", "checkpoint")
    assert path.read_bytes() == LARGE
    assert fetch("owner/model", "checkpoint") == path
    assert (served.count("HEAD"), served.count("GET")) == (2, 1)


def test_changed_file_is_fetched_again(served: FakeHub) -> None:
    fetch("owner/model", "checkpoint")
    served.files["owner/model:checkpoint"] = LARGE[::-1]
    path = fetch("owner/model", "checkpoint", revision="v1")
    assert served.count("GET") == 1, "one commit does not change: the cache believes the commit"
    assert path.read_bytes() == LARGE


def test_data_sets_and_folders_and_revisions_are_found(served: FakeHub) -> None:
    assert fetch("owner/puzzles", "train.csv", repo_type="dataset").read_bytes() == LARGE
    assert fetch("owner/model", "sub/folder/x.csv", revision="v1").read_bytes() == b"a,b\n"
    assert any(path == "/owner/model/resolve/v1/sub/folder/x.csv" for _, path, _ in served.asked)


def test_small_file_has_no_hash_to_compare_with(served: FakeHub) -> None:
    served.git_etag = True
    assert fetch("owner/model", "sub/folder/x.csv").read_bytes() == b"a,b\n"


@pytest.mark.parametrize(
    ("cuts", "resumed"), [([100_500], [100_000]), ([10_000, 50_001, 200_000], [10_000, 60_000, 260_000]), ([299_999], [290_000])]
)
def test_body_that_breaks_off_is_resumed_where_it_ended(
    served: FakeHub, cuts: list[int], resumed: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(constants, "DOWNLOAD_CHUNK_SIZE", 10_000)  # what is written at once; less than that is asked for again
    served.cuts = list(cuts)
    assert fetch("owner/model", "checkpoint").read_bytes() == LARGE
    ranges = [asked for method, path, asked in served.asked if method == "GET" and "/resolve/" in path]
    assert ranges == ["", *(f"bytes={start}-" for start in resumed)]


def test_body_that_breaks_off_for_ever_is_one_line(served: FakeHub) -> None:
    served.cuts = [0] * 100
    with pytest.raises(HubError, match=r"hf://owner/model@main/checkpoint could not be fetched .*; check the network and HF_ENDPOINT"):
        fetch("owner/model", "checkpoint")
    assert len(served.cuts) < 90


@pytest.mark.parametrize("status", [429, 500, 503])
def test_trouble_that_passes_is_waited_for(served: FakeHub, status: int) -> None:
    served.statuses = [(status, "")] * 3
    served.get_statuses = [status] * 2
    assert fetch("owner/model", "checkpoint").read_bytes() == LARGE


@pytest.mark.parametrize(
    ("status", "message"), [(429, r"refuses more requests for now \(429\); wait"), (503, "the Hub answered 503; try again later")]
)
def test_trouble_that_stays_is_one_line(served: FakeHub, status: int, message: str) -> None:
    served.statuses = [(status, "")] * 100
    with pytest.raises(HubError, match=message) as refused:
        fetch("owner/model", "checkpoint")
    assert "\n" not in str(refused.value)
    assert len(served.statuses) > 80, "a few tries, not for ever"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("owner/other", "checkpoint"), "there is no repository owner/other, or it is private"),
        (("owner/model", "nope"), "the repository has no file nope; look at its files at huggingface.co/owner/model"),
        (("owner/model", "a/../nope"), "is no file on the Hub|has no file"),
        (("owner/model/more", "x"), "is no file on the Hub"),
    ],
)
def test_what_is_not_there_is_told_apart(served: FakeHub, arguments: tuple[str, str], message: str) -> None:
    with pytest.raises(HubError, match=message) as refused:
        fetch(*arguments)
    assert "\n" not in str(refused.value)


def test_missing_revision_is_told(served: FakeHub) -> None:
    with pytest.raises(HubError, match=r"hf://owner/model@v9/checkpoint: the repository has no revision v9"):
        fetch("owner/model", "checkpoint", revision="v9")


@pytest.mark.parametrize(
    ("status", "code", "message"),
    [
        (403, "GatedRepo", r"may not be read without permission; ask for it at huggingface.co/owner/model, then set HF_TOKEN"),
        (403, "", "may not be read without permission"),
        (401, "GatedRepo", "may not be read without permission"),
        (401, "", "there is no repository owner/model, or it is private"),
    ],
)
def test_closed_repository_names_the_way_in(served: FakeHub, status: int, code: str, message: str) -> None:
    served.statuses = [(status, code)] * 100
    with pytest.raises(HubError, match=message):
        fetch("owner/model", "checkpoint")


def test_damaged_download_is_refused_and_removed(served: FakeHub, tmp_path: Path) -> None:
    served.damage = True
    with pytest.raises(HubError, match=r"arrived damaged: sha256 .*, the Hub says .*; it was removed"):
        fetch("owner/model", "checkpoint")
    assert not [path for path in (tmp_path / "cache").rglob("*") if path.is_file() and path.stat().st_size == len(LARGE)]
    served.damage = False
    assert fetch("owner/model", "checkpoint").read_bytes() == LARGE


def test_cached_file_that_was_damaged_later_is_noticed(served: FakeHub) -> None:
    blob = fetch("owner/model", "checkpoint").resolve()
    blob.chmod(0o644)
    blob.write_bytes(LARGE[:-1] + b"\0")
    with pytest.raises(HubError, match="arrived damaged"):
        fetch("owner/model", "checkpoint")
    assert fetch("owner/model", "checkpoint").read_bytes() == LARGE


def test_cache_serves_without_a_server(served: FakeHub, monkeypatch: pytest.MonkeyPatch) -> None:
    path = fetch("owner/model", "checkpoint")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert fetch("owner/model", "checkpoint") == path
    with pytest.raises(HubError, match="is not in the cache and HF_HUB_OFFLINE is set"):
        fetch("owner/model", "sub/folder/x.csv")
    assert served.count("HEAD") == 1


def test_no_server_is_one_line(served: FakeHub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", "http://127.0.0.1:9/{repo_id}/resolve/{revision}/{filename}")
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(HubError, match=r"could not be fetched \(.*\); check the network and HF_ENDPOINT"):
        fetch("owner/model", "checkpoint")


def test_nothing_is_printed_where_nobody_watches(served: FakeHub, capfd: pytest.CaptureFixture[str]) -> None:
    served.cuts = [1000]
    served.statuses = [(503, "")]
    fetch("owner/model", "checkpoint")
    assert capfd.readouterr() == ("", "")


def test_a_fresh_process_without_a_server_prints_nothing_of_the_tries(tmp_path: Path) -> None:
    program = """
import time
time.sleep = lambda seconds: None
from hrm_core.hub import HubError, fetch
try:
    fetch("owner/model", "checkpoint")
except HubError as error:
    print(error)
"""
    environment = {**os.environ, "HF_ENDPOINT": "http://127.0.0.1:9", "HF_HOME": str(tmp_path), "HF_HUB_OFFLINE": "0"}
    ran = subprocess.run(
        [sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=True, cwd=Path(__file__).parents[2]
    )
    assert ran.stderr == ""
    assert "could not be fetched" in ran.stdout


def test_without_the_package_the_error_says_which_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(BackendError, match=r"pip install 'hrm-mlx\[hub\]'"):
        hub.fetch("owner/model", "checkpoint")
