"""The task of docs/own-puzzles.md, taken from the page, installed and used as the page shows."""

import json
import os
import re
import shlex
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

import pytest
from PIL import Image

pytest.importorskip("pip", reason="pip is missing: the task of a third party is not tested")

PAGE = Path(__file__).parent.parent / "docs" / "own-puzzles.md"
SECTION = PAGE.read_text(encoding="utf-8").partition("\n## A task of your own\n")[2]
FILES, _, COMMANDS = SECTION.partition("\n### The commands\n")
FILE = re.compile(r"^`(latin_squares/[^`]+)`.*?^```\w+\n(.*?)^```", re.DOTALL | re.MULTILINE)
BLOCK = re.compile(r"^```\n(.*?)^```", re.DOTALL | re.MULTILINE)
HRM = [sys.executable, "-m", "hrm_cli"]
PIP = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet", "install"]
OFFLINE = ["--no-deps", "--no-build-isolation", "--no-index"]

CHECKS = """
import hrm_mlx
import numpy as np
from pathlib import Path
from hrm_core.data.store import load_split
from latin_squares.build import Options, all_squares, build
from latin_squares.task import BLANK, Latin

(solution,) = hrm_mlx.load("latin.safetensors").solve("1234/3412/2143/432.", votes=25)
assert solution.text_of(solution.answer).split() == ["1234", "3412", "2143", "4321"]

task, squares = Latin(), all_squares()
sets = [load_split(Path("data/latin"), split).sets["all"] for split in ("train", "test")]
(train, test), (train_labels, test_labels) = (
    [np.asarray(getattr(each, name)) for each in sets] for name in ("inputs", "labels")
)
assert squares.shape == (576, 16)
assert len(np.unique(np.concatenate([train, test]), axis=0)) == len(train) + len(test)
assert not set(map(bytes, train_labels)) & set(map(bytes, test_labels))
assert task.accepts_all(train, train_labels).all()
assert task.accepts_all(test, test_labels).all()
assert task.accepts_all(test, np.roll(test_labels, 1, axis=0)).mean() < 0.1
fits = (test[:, None] == squares) | (test[:, None] == BLANK)
assert (fits.all(axis=2).sum(axis=1) == 1).all()

symmetry = task.draw_symmetries(np.random.default_rng(0), len(test))
assert task.accepts_all(symmetry.apply(test), symmetry.apply(test_labels)).all()
assert (symmetry.apply(test_labels) != test_labels).any(axis=1).mean() > 0.9

for name, seed in (("one", 3), ("again", 3), ("other", 4)):
    built = build(Path(name), Options(train=20, test=5, seed=seed))
    assert built.summary == "20 training puzzles, 5 test puzzles"
one, again, other = (
    Path(name, "train", "all__inputs.npy").read_bytes() for name in ("one", "again", "other")
)
assert one == again != other
"""


class Command(NamedTuple):
    """A command that the page shows."""

    words: list[str]
    statuses: set[int]  # that the page allows


def shown() -> list[Command]:
    """Read the commands of the first block below "The commands"."""
    block = BLOCK.search(COMMANDS)
    assert block, "the page has no block of commands"
    commands = []
    for line in block[1].splitlines():
        text, _, comment = line.partition("  #")
        statuses = set(map(int, re.findall(r"\d", comment.partition(":")[0]))) or {0}
        commands.append(Command(shlex.split(text), statuses))
    return commands


def run(
    *command: str | Path, folder: Path, site: Path | None = None
) -> subprocess.CompletedProcess[str]:
    """Run a command in a folder, on one core, with the packages installed in `site`."""
    settings = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(site or "")}
    return subprocess.run(command, cwd=folder, env=settings, capture_output=True, text=True)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder where the package of the page is installed."""
    source, site = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("site")
    for name, text in FILE.findall(FILES):
        path = source / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    installed = run(*PIP, *OFFLINE, "--target", site, "./latin_squares", folder=source)
    assert installed.returncode == 0, installed.stderr
    return site


@pytest.fixture(scope="module")
def work(site: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder in which every command of the page has run, each with a status that it allows."""
    folder = tmp_path_factory.mktemp("work")
    program, *commands = shown()
    assert program.words == ["pip", "install", "./latin_squares"]
    for (_, *words), statuses in commands:
        if words[0] == "plot" and find_spec("matplotlib") is None:
            continue
        done = run(*HRM, *words, folder=folder, site=site)
        assert done.returncode in statuses, f"{words}: {done.returncode}\n{done.stderr}"
    return folder


def test_the_page_shows_the_files_of_its_tree_and_every_verb() -> None:
    tree = BLOCK.search(FILES)
    assert tree, "the page has no tree of files"
    assert [Path(line.split()[0]).name for line in tree[1].splitlines()] == [
        "latin_squares",
        "pyproject.toml",
        "latin_squares",
        "__init__.py",
        "task.py",
        "build.py",
        "latin-4x4.yaml",
    ]
    assert [name.removeprefix("latin_squares/") for name, _ in FILE.findall(FILES)] == [
        "pyproject.toml",
        "latin_squares/__init__.py",
        "latin_squares/task.py",
        "latin_squares/build.py",
        "latin_squares/presets/latin-4x4.yaml",
    ]
    verbs = {command.words[1] for command in shown()}
    assert verbs == {"install", "data", "doctor", "train", "eval", "solve", "convert", "plot"}


def test_help_lists_the_task_with_its_line(site: Path, tmp_path: Path) -> None:
    helped = run(*HRM, "data", "--help", folder=tmp_path, site=site).stdout
    line = "Build a data set of Latin squares: each digit once in every row and column."
    assert f"latin {line}" in " ".join(helped.split())


def test_every_command_of_the_page_runs(work: Path) -> None:
    records = map(json.loads, (work / "runs/latin/log.jsonl").read_text().splitlines())
    losses = [record["lm_loss"] for record in records if record["kind"] == "train"]
    assert losses[-1] < 0.8 * losses[0]
    for name in ("squares.png", "mistakes.png", "answer.png", "thinking.gif"):
        with Image.open(work / name) as picture:
            assert min(picture.size) > 50


def test_curves_are_drawn(work: Path) -> None:
    pytest.importorskip("matplotlib", reason="matplotlib is missing: curves are not tested")
    with Image.open(work / "curves.png") as picture:
        assert min(picture.size) > 50


def test_data_and_rules_are_what_the_page_says(site: Path, work: Path) -> None:
    checked = run(sys.executable, "-c", CHECKS, folder=work, site=site)
    assert checked.returncode == 0, checked.stderr


@pytest.mark.parametrize(
    ("question", "message"),
    [
        ("1234/341x/....", "square 1: unknown cell 'x'; expected . or 1 to 4"),
        ("1234", "4 cells; expected 16 for each square"),
    ],
)
def test_what_is_no_square_is_refused(site: Path, work: Path, question: str, message: str) -> None:
    refused = run(*HRM, "solve", "latin.safetensors", question, folder=work, site=site)
    assert (refused.returncode, refused.stdout) == (2, "")
    assert (
        refused.stderr == f"hrm: {question!r} is no file, so it was read as a puzzle: {message}\n"
    )


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("solve runs/latin 1234", "; install the package that brings latin"),
        ("solve latin.safetensors 1234", "; install the package that brings latin"),
        ("eval runs/latin --votes 3", "its task is not known; leave out --votes"),
        ("train latin-4x4 --data data/latin --run new", "latin-4x4 is neither a file nor a preset"),
        ("data latin new", "No such command 'latin'."),
    ],
)
def test_without_the_package_the_task_is_not_known(work: Path, words: str, message: str) -> None:
    refused = run(*HRM, *words.split(), folder=work)
    assert (refused.returncode, refused.stdout) == (2, "")
    (line,) = refused.stderr.splitlines()
    assert message in line
    assert not (work / "new").exists()
