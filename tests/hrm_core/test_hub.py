"""Files of the Hub, from a server on this machine that speaks its file API: etag, resume, trouble, and damage on the way."""

import hashlib
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hrm_core import hub
from hrm_core.errors import BackendError
from hrm_core.hub import HubError, fetch, fetch_together

constants = pytest.importorskip(
    "huggingface_hub.constants",
    reason="huggingface_hub is missing: fetching from the Hub is not tested",
)

LARGE = np.random.default_rng(0).bytes(300_000)


@pytest.fixture
def served(fake_hub: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A server with some files, and huggingface_hub of this process told to use it and a cache of this test's own."""
    fake_hub.files |= {
        "owner/model:checkpoint": LARGE,
        "owner/model:sub/folder/x.csv": b"a,b\n",
        "datasets/owner/puzzles:train.csv": LARGE,
    }
    endpoint = fake_hub.environment["HF_ENDPOINT"]
    monkeypatch.setattr(constants, "ENDPOINT", endpoint)
    monkeypatch.setattr(
        constants,
        "HUGGINGFACE_CO_URL_TEMPLATE",
        endpoint + "/{repo_id}/resolve/{revision}/{filename}",
    )
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_IMPLICIT_TOKEN", True)
    monkeypatch.setattr(
        constants, "AGENT_HARNESSES_PATH", str(tmp_path / "harnesses.json"), raising=False
    )  # written into HF_HOME
    monkeypatch.setattr("time.sleep", lambda seconds: None)
    return fake_hub


def test_file_is_fetched_once_and_then_known_by_its_etag(served: Any) -> None:
    path = fetch("owner/model", "checkpoint")
    assert path.read_bytes() == LARGE
    assert fetch("owner/model", "checkpoint") == path
    assert (served.count("HEAD"), served.count("GET")) == (2, 1)


def test_changed_file_is_fetched_again(served: Any) -> None:
    fetch("owner/model", "checkpoint")
    served.files["owner/model:checkpoint"] = LARGE[::-1]
    path = fetch("owner/model", "checkpoint", revision="v1")
    assert served.count("GET") == 1, "one commit does not change: the cache believes the commit"
    assert path.read_bytes() == LARGE


def test_data_sets_and_folders_and_revisions_are_found(served: Any) -> None:
    assert fetch("owner/puzzles", "train.csv", repo_type="dataset").read_bytes() == LARGE
    assert fetch("owner/model", "sub/folder/x.csv", revision="v1").read_bytes() == b"a,b\n"
    assert any(path == "/owner/model/resolve/v1/sub/folder/x.csv" for _, path, _ in served.asked)


def test_small_file_has_no_hash_to_compare_with(served: Any) -> None:
    served.git_etag = True
    assert fetch("owner/model", "sub/folder/x.csv").read_bytes() == b"a,b\n"


@pytest.mark.parametrize(
    ("cuts", "resumed"),
    [
        ([100_500], [100_000]),
        ([10_000, 50_001, 200_000], [10_000, 60_000, 260_000]),
        ([299_999], [290_000]),
    ],
)
def test_body_that_breaks_off_is_resumed_where_it_ended(
    served: Any, cuts: list[int], resumed: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        constants, "DOWNLOAD_CHUNK_SIZE", 10_000
    )  # what is written at once; less than that is asked for again
    served.cuts = list(cuts)
    assert fetch("owner/model", "checkpoint").read_bytes() == LARGE
    ranges = [
        asked for method, path, asked in served.asked if method == "GET" and "/resolve/" in path
    ]
    assert ranges == ["", *(f"bytes={start}-" for start in resumed)]


def test_body_that_breaks_off_for_ever_is_one_line(served: Any) -> None:
    served.cuts = [0] * 100
    with pytest.raises(
        HubError,
        match=r"hf://owner/model@main/checkpoint could not be fetched .*; check the network and HF_ENDPOINT",
    ):
        fetch("owner/model", "checkpoint")
    assert len(served.cuts) < 90


@pytest.mark.parametrize("status", [429, 500, 503])
def test_trouble_that_passes_is_waited_for(served: Any, status: int) -> None:
    served.statuses = [(status, "")] * 3
    served.get_statuses = [status] * 2
    assert fetch("owner/model", "checkpoint").read_bytes() == LARGE


@pytest.mark.parametrize(
    ("status", "message"),
    [
        (429, r"refuses more requests for now \(429\); wait"),
        (503, "the Hub answered 503; try again later"),
    ],
)
def test_trouble_that_stays_is_one_line(served: Any, status: int, message: str) -> None:
    served.statuses = [(status, "")] * 100
    with pytest.raises(HubError, match=message) as refused:
        fetch("owner/model", "checkpoint")
    assert "\n" not in str(refused.value)
    assert len(served.statuses) > 80, "a few tries, not for ever"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("owner/other", "checkpoint"), "there is no repository owner/other, or it is private"),
        (
            ("owner/model", "nope"),
            "the repository has no file nope; look at its files at huggingface.co/owner/model",
        ),
        (("owner/model", "a/../nope"), "is no file on the Hub|has no file"),
        (("owner/model/more", "x"), "is no file on the Hub"),
    ],
)
def test_what_is_not_there_is_told_apart(
    served: Any, arguments: tuple[str, str], message: str
) -> None:
    with pytest.raises(HubError, match=message) as refused:
        fetch(*arguments)
    assert "\n" not in str(refused.value)


def test_page_of_a_data_set_is_named(served: Any) -> None:
    with pytest.raises(
        HubError,
        match=r"has no file nope; look at its files at huggingface\.co/datasets/owner/puzzles$",
    ):
        fetch("owner/puzzles", "nope", repo_type="dataset")


def test_missing_revision_is_told(served: Any) -> None:
    with pytest.raises(
        HubError, match=r"hf://owner/model@v9/checkpoint: the repository has no revision v9"
    ):
        fetch("owner/model", "checkpoint", revision="v9")


@pytest.mark.parametrize(
    ("status", "code", "message"),
    [
        (
            403,
            "GatedRepo",
            r"may not be read without permission; ask for it at huggingface.co/owner/model, then set HF_TOKEN",
        ),
        (403, "", "may not be read without permission"),
        (401, "GatedRepo", "may not be read without permission"),
        (401, "", "there is no repository owner/model, or it is private"),
    ],
)
def test_closed_repository_names_the_way_in(
    served: Any, status: int, code: str, message: str
) -> None:
    served.statuses = [(status, code)] * 100
    with pytest.raises(HubError, match=message):
        fetch("owner/model", "checkpoint")


def test_damaged_download_is_fetched_again(served: Any) -> None:
    served.num_damaged = 2
    assert fetch("owner/model", "checkpoint").read_bytes() == LARGE
    assert served.count("GET") == 3


def test_download_that_is_always_damaged_is_refused_and_removed(
    served: Any, tmp_path: Path
) -> None:
    served.num_damaged = 100
    with pytest.raises(
        HubError,
        match=r"could not be fetched \(it arrived damaged, with sha256 .*, the Hub says .*\); check the network",
    ):
        fetch("owner/model", "checkpoint")
    assert served.num_damaged > 90
    assert not [
        path
        for path in (tmp_path / "cache").rglob("*")
        if path.is_file() and path.stat().st_size == len(LARGE)
    ]


@pytest.mark.parametrize("is_shared", [False, True])
def test_cached_file_that_was_damaged_later_is_replaced(
    served: Any, tmp_path: Path, is_shared: bool
) -> None:
    blob = fetch("owner/model", "checkpoint").resolve()
    if is_shared:  # by several repositories: the package then keeps a link to it
        blob = blob.rename(tmp_path / "shared")
        (
            tmp_path
            / "cache"
            / "models--owner--model"
            / "blobs"
            / hashlib.sha256(LARGE).hexdigest()
        ).symlink_to(blob)
    blob.chmod(0o644)
    blob.write_bytes(LARGE[:-1] + b"\0")
    assert fetch("owner/model", "checkpoint").read_bytes() == LARGE
    assert blob.exists() != is_shared
    assert served.count("GET") == 2


@pytest.mark.parametrize("header", ["ETag", "X-Linked-Etag", "X-Repo-Commit"])
@pytest.mark.parametrize("lead", ["../../../", "x/../../../../", "ABSOLUTE/"])
def test_answer_that_leads_out_of_the_cache_is_refused(
    served: Any, tmp_path: Path, header: str, lead: str
) -> None:
    name = f"{lead.replace('ABSOLUTE', str(tmp_path))}stolen"
    served.headers = {"X-Linked-Etag": "", header: name if "Commit" in header else f'W/"{name}"'}
    with pytest.raises(HubError) as refused:
        fetch("owner/model", "checkpoint")
    assert str(refused.value).startswith("hf://owner/model@main/checkpoint: the answer names ")
    assert "HF_ENDPOINT" in str(refused.value)
    assert not list(tmp_path.rglob("stolen*"))


def test_other_forms_of_an_etag_are_taken(served: Any) -> None:
    served.headers = {"X-Linked-Etag": "", "ETag": 'W/"d41d8cd9-12..5"'}
    assert fetch("owner/model", "checkpoint").read_bytes() == LARGE


def test_files_that_belong_together_are_of_one_commit(served: Any) -> None:
    served.files["datasets/owner/puzzles:test/x.csv"] = b"a,b\n"
    commit, paths = fetch_together("owner/puzzles", ["train.csv", "test/x.csv"], "dataset", "v1")
    assert [path.read_bytes() for path in paths] == [LARGE, b"a,b\n"]
    assert [path for method, path, _ in served.asked if method == "HEAD"] == [
        "/datasets/owner/puzzles/resolve/v1/train.csv",
        f"/datasets/owner/puzzles/resolve/{commit}/test/x.csv",
    ]
    assert fetch_together("owner/puzzles", ["test/x.csv"], "dataset").commit == commit


def test_cache_serves_without_a_server(served: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    path = fetch("owner/model", "checkpoint")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert fetch("owner/model", "checkpoint") == path
    with pytest.raises(HubError, match="is not in the cache and HF_HUB_OFFLINE is set"):
        fetch("owner/model", "sub/folder/x.csv")
    assert served.count("HEAD") == 1


def test_no_server_is_one_line(served: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        constants,
        "HUGGINGFACE_CO_URL_TEMPLATE",
        "http://127.0.0.1:9/{repo_id}/resolve/{revision}/{filename}",
    )
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(
        HubError, match=r"could not be fetched \(.*\); check the network and HF_ENDPOINT"
    ):
        fetch("owner/model", "checkpoint")


def test_nothing_is_printed_where_nobody_watches(
    served: Any, capfd: pytest.CaptureFixture[str]
) -> None:
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
    environment = {
        **os.environ,
        "HF_ENDPOINT": "http://127.0.0.1:9",
        "HF_HOME": str(tmp_path),
        "HF_HUB_OFFLINE": "0",
    }
    ran = subprocess.run(
        [sys.executable, "-c", program],
        env=environment,
        capture_output=True,
        text=True,
        check=True,
        cwd=Path(__file__).parents[2],
    )
    assert ran.stderr == ""
    assert "could not be fetched" in ran.stdout


def test_without_the_package_the_error_says_which_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(BackendError, match=r"pip install 'huggingface_hub>=1\.0'"):
        hub.fetch("owner/model", "checkpoint")
