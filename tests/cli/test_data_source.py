"""`hrm data sudoku|maze --source hf://…` from a server on this machine: the same data as from files, fetched once, and what goes wrong."""

import hashlib
import json
import os
import pty
import subprocess
import sys
import termios
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Hrm = Callable[..., Any]
Refusal = Callable[..., str]
REPOSITORY = Path(__file__).parents[2]
COMMIT = "0123456789abcdef0123456789abcdef01234567"
PROGRAM = "import sys, time; time.sleep = lambda seconds: None; from hrm_cli.main import main; sys.exit(main())"  # waits between tries
HEADER = "source,question,answer,rating"
FILES = {
    "sudoku": {
        "train.csv": [
            "mine,12..............,1234341221434321,7",
            "mine,..34............,1234341221434321,0",
            "mine,....34..........,1234341221434321,3",
        ],
        "test.csv": ["mine,........21......,1234341221434321,5"],
    },
    "maze": {
        "train.csv": [
            "mine,S ## ## G,So##o##oG,4",
            "mine,S#G   ###,S#Gooo###,4",
            "mine,G#S   ###,G#Sooo###,4",
        ],
        "test.csv": ["mine,S##  ## G,S##oo##oG,4"],
    },
}


@pytest.fixture
def published(fake_hub: Any) -> Any:
    """A Hub with small data sets under the names of the published ones."""
    for task, name in (("sudoku", "sudoku-extreme"), ("maze", "maze-30x30-hard-1k")):
        for file, lines in FILES[task].items():
            fake_hub.files[f"datasets/sapientinc/{name}:{file}"] = "\n".join(
                [HEADER, *lines, ""]
            ).encode()
    return fake_hub


def run(hub: Any, *arguments: str | Path, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", PROGRAM, *map(str, arguments)]
    return subprocess.run(
        command,
        env={**hub.environment, **environment},
        capture_output=True,
        text=True,
        check=False,
        cwd=REPOSITORY,
    )


def contents(directory: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(directory)): path.read_bytes()
        for path in sorted(directory.rglob("*"))
        if path.is_file()
    }


@pytest.mark.parametrize(
    ("task", "source", "options"),
    [
        (
            "sudoku",
            "hf://sapientinc/sudoku-extreme",
            ["--subsample", "2", "--augment", "5", "--seed", "3", "--min-rating", "3"],
        ),
        (
            "maze",
            "hf://datasets/sapientinc/maze-30x30-hard-1k@v1",
            ["--subsample", "2", "--augment", "2"],
        ),
    ],
)
def test_published_data_are_those_of_the_same_files(
    published: Any, hrm: Hrm, tmp_path: Path, task: str, source: str, options: list[str]
) -> None:
    ran = run(published, "data", task, tmp_path / "fetched", "--source", source, *options)
    assert (ran.returncode, ran.stderr) == (0, "")
    repository, _, revision = source.removeprefix("hf://").removeprefix("datasets/").partition("@")
    files = {
        file: published.files[f"datasets/{repository}:{file}"] for file in ("train.csv", "test.csv")
    }
    for file, content in files.items():
        (tmp_path / file).write_bytes(content)
    local = ["--train-csv", tmp_path / "train.csv", "--test-csv", tmp_path / "test.csv"]
    assert hrm("data", task, tmp_path / "local", *local, *options).status == 0
    fetched, expected = (contents(tmp_path / name) for name in ("fetched", "local"))
    build = json.loads(fetched.pop("build.json"))
    assert build.pop("hub") == {
        "repository": repository,
        "revision": revision or "main",
        "commit": COMMIT,
    }
    assert build == json.loads(expected.pop("build.json"))
    assert fetched == expected
    hashes = {f"{split}.csv": about["sha256"] for split, about in build["sources"].items()}
    assert hashes == {file: hashlib.sha256(content).hexdigest() for file, content in files.items()}


def test_files_are_fetched_once(published: Any, tmp_path: Path) -> None:
    for name, offline in (("a", "0"), ("b", "0"), ("c", "1")):
        ran = run(
            published,
            "data",
            "maze",
            tmp_path / name,
            "--source",
            "hf://sapientinc/maze-30x30-hard-1k",
            HF_HUB_OFFLINE=offline,
        )
        assert (ran.returncode, ran.stderr) == (0, "")
    assert contents(tmp_path / "a") == contents(tmp_path / "b") == contents(tmp_path / "c")
    assert (published.count("HEAD"), published.count("GET")) == (3, 2), (
        "the second build asks whether train.csv has changed, and no more"
    )


def test_trouble_that_passes_is_waited_for(published: Any, tmp_path: Path) -> None:
    published.statuses = [(429, ""), (503, "")]
    published.get_statuses = [429]
    published.cuts = [20]
    published.num_damaged = 1
    ran = run(
        published, "data", "sudoku", tmp_path / "out", "--source", "hf://sapientinc/sudoku-extreme"
    )
    assert (ran.returncode, ran.stderr) == (0, "")
    assert ran.stdout.startswith(
        f"{tmp_path / 'out'}: 3 training examples of 3 puzzles, 1 test puzzles"
    )


@pytest.mark.parametrize(
    ("trouble", "source", "message"),
    [
        (
            {},
            "hf://sapientinc/nope",
            "there is no repository datasets/sapientinc/nope, or it is private",
        ),
        ({}, "hf://sapientinc/sudoku-extreme@v9", "the repository has no revision v9"),
        (
            {"files": {"datasets/sapientinc/sudoku-extreme:train.csv": b"x"}},
            "hf://sapientinc/sudoku-extreme",
            "the repository has no file test.csv; look at its files at huggingface.co/datasets/sapientinc/sudoku-extreme",
        ),
        (
            {"statuses": [(429, "")] * 100},
            "hf://sapientinc/sudoku-extreme",
            "the Hub refuses more requests for now (429); wait",
        ),
        ({"cuts": [20] * 100}, "hf://sapientinc/sudoku-extreme", "train.csv could not be fetched"),
        (
            {"num_damaged": 100},
            "hf://sapientinc/sudoku-extreme",
            "train.csv could not be fetched (it arrived damaged, with sha256",
        ),
        (
            {},
            "hf://sapientinc/maze-30x30-hard-1k",
            "train.csv:2: 'mine,S ## ## G,So##o##oG,4' has a question of 9 characters",
        ),
    ],
)
def test_trouble_that_stays_is_one_line_and_leaves_nothing(
    published: Any, tmp_path: Path, trouble: dict[str, Any], source: str, message: str
) -> None:
    vars(published).update(trouble)
    ran = run(published, "data", "sudoku", tmp_path / "out", "--source", source)
    assert (ran.returncode, ran.stdout, len(ran.stderr.splitlines())) == (2, "", 1), ran.stderr
    assert message in ran.stderr
    assert {path.name for path in tmp_path.iterdir()} <= {"hf"}


def test_nothing_is_fetched_for_a_directory_in_use(published: Any, tmp_path: Path) -> None:
    (tmp_path / "mine.txt").touch()
    ran = run(published, "data", "sudoku", tmp_path, "--source", "hf://sapientinc/sudoku-extreme")
    assert (ran.returncode, published.asked) == (2, [])
    assert "is not empty; choose another directory" in ran.stderr


def test_progress_is_shown_on_a_terminal(published: Any, tmp_path: Path) -> None:
    terminal, end = pty.openpty()
    termios.tcsetwinsize(end, (24, 80))
    command = [
        sys.executable,
        "-c",
        PROGRAM,
        "data",
        "maze",
        tmp_path / "out",
        "--source",
        "hf://sapientinc/maze-30x30-hard-1k",
    ]
    with os.fdopen(terminal, "rb", buffering=0) as shown:
        subprocess.run(
            command,
            env=published.environment,
            stdout=subprocess.DEVNULL,
            stderr=end,
            check=True,
            cwd=REPOSITORY,
        )
        assert b"train.csv: 100%" in shown.read(1 << 16)
        os.close(end)


@pytest.mark.parametrize("task", ["sudoku", "maze"])
@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("hf://x", "hf://x is no address on the Hub; expected hf://owner/repository"),
        (
            "https://huggingface.co/datasets/a/b",
            "https://huggingface.co/datasets/a/b is no address on the Hub; expected hf://owner/repository",
        ),
        ("", "is no address on the Hub; expected hf://owner/repository"),
        (
            "hf://a/b/train.csv",
            "hf://a/b/train.csv names one file; expected hf://owner/repository, which holds train.csv and test.csv",
        ),
    ],
)
def test_what_is_no_address_is_refused(
    refusal: Refusal, tmp_path: Path, task: str, source: str, message: str
) -> None:
    assert message in refusal("data", task, tmp_path / "out", "--source", source)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("task", ["sudoku", "maze"])
@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            ["--generate", "3"],
            "give one of --source hf://OWNER/NAME, --train-csv FILE and --generate N",
        ),
        (
            ["--train-csv", "x"],
            "give one of --source hf://OWNER/NAME, --train-csv FILE and --generate N",
        ),
        (
            ["--test-csv", "x"],
            "--test-csv goes with --train-csv; --source has test puzzles of its own",
        ),
        (["--test", "3"], "--test"),
    ],
)
def test_options_that_do_not_go_with_a_source_are_refused(
    refusal: Refusal, tmp_path: Path, task: str, options: list[str], message: str
) -> None:
    assert message in refusal("data", task, tmp_path / "out", "--source", "hf://a/b", *options)


def test_missing_package_is_named_with_its_extra(
    refusal: Refusal, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    assert "pip install 'huggingface_hub>=1.0'" in refusal(
        "data", "maze", tmp_path / "out", "--source", "hf://a/b"
    )
