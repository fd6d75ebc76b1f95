"""What `pip install` brings, built and tried away from the checkout, without the network."""

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

pytest.importorskip("pip", reason="pip is missing: the wheel is not tested")

REPOSITORY = Path(__file__).parent.parent
RENAMED = {"cli": "hrm_cli", "convert": "hrm_convert", "models": "hrm_models"}
PIP = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet"]
OFFLINE = ("--no-deps", "--no-build-isolation", "--no-index")
PUZZLE = "53..7....6..195....98....6.8...6...34..8.3..17...2...6.6....28....419..5....8..79"


def run(*command: str | Path, folder: Path) -> subprocess.CompletedProcess[str]:
    """Run a command in a folder, where nothing leads to the checkout."""
    settings = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    return subprocess.run(command, cwd=folder, env=settings, capture_output=True, text=True)


def succeed(*command: str | Path, folder: Path) -> str:
    done = run(*command, folder=folder)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def source_files() -> list[Path]:
    """All files of the repository, relative to it."""
    listing = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    if not (REPOSITORY / ".git").exists() or shutil.which("git") is None:
        pytest.skip(f"{REPOSITORY} is no git checkout: the wheel is not tested")
    paths = map(Path, succeed(*listing, folder=REPOSITORY).split("\0")[:-1])
    return [path for path in paths if (REPOSITORY / path).is_file()]


@pytest.fixture(scope="module")
def copy(source_files: list[Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The repository without what was built or ignored."""
    folder = tmp_path_factory.mktemp("copy")
    for path in source_files:
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(REPOSITORY / path, folder / path)
    return folder


def build_wheel(source: Path, out: Path) -> Path:
    succeed(*PIP, "wheel", source, "--wheel-dir", out, *OFFLINE, folder=out.parent)
    (wheel,) = out.glob("*.whl")
    return wheel


def names_in(wheel: Path) -> set[str]:
    """The files in a wheel that are not about the wheel."""
    with zipfile.ZipFile(wheel) as archive:
        return {name for name in archive.namelist() if ".dist-info/" not in name}


@pytest.fixture(scope="module")
def wheel(copy: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_wheel(copy, tmp_path_factory.mktemp("wheel") / "dist")


@pytest.fixture(scope="module")
def python(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The Python of a new environment with the wheel and the packages of this one."""
    folder = tmp_path_factory.mktemp("environment")
    succeed(sys.executable, "-m", "venv", "--without-pip", ".", folder=folder)
    python = folder / "bin" / "python"
    succeed(*PIP, "--python", python, "install", wheel, *OFFLINE, folder=folder)
    (packages,) = folder.glob("lib/python*/site-packages")
    known = [path for path in sys.path if Path(path).name in ("site-packages", "dist-packages")]
    (packages / "dependencies.pth").write_text("\n".join(known))  # their own .pth are not read
    return python


def test_wheel_has_every_file_of_the_packages_under_a_name_of_ours(
    source_files: list[Path], wheel: Path
) -> None:
    expected = set()
    for path in source_files:
        top, *rest = path.parts
        package = RENAMED.get(top, top)
        if rest and package.startswith("hrm_"):
            expected.add("/".join([package, *rest]))
    assert names_in(wheel) == expected
    assert "hrm_models/sudoku-9x9.safetensors" in expected


def test_source_archive_builds_the_same_wheel(copy: Path, wheel: Path, tmp_path: Path) -> None:
    program = f"from setuptools.build_meta import build_sdist; build_sdist({str(tmp_path)!r})"
    succeed(sys.executable, "-c", program, folder=copy)
    (archive,) = tmp_path.glob("*.tar.gz")
    assert names_in(build_wheel(archive, tmp_path / "dist")) == names_in(wheel)


@pytest.mark.parametrize("command", [[], ["data"], ["parity"]], ids=" ".join)
def test_help_is_shown(python: Path, tmp_path: Path, command: list[str]) -> None:
    shown = succeed(python.with_name("hrm"), *command, "--help", folder=tmp_path)
    assert shown.startswith(" ".join(["Usage: hrm", *command]))


def test_shipped_model_solves_by_name(python: Path, tmp_path: Path) -> None:
    hrm = python.with_name("hrm")
    shown = succeed(hrm, "solve", "sudoku-9x9", PUZZLE, "--device", "cpu", folder=tmp_path)
    assert "accepted by the rules" in shown


def test_data_set_is_built(python: Path, tmp_path: Path) -> None:
    words = ("data", "sudoku", "out", "--generate", "20", "--size", "4")
    succeed(python.with_name("hrm"), *words, folder=tmp_path)
    assert (tmp_path / "out" / "build.json").is_file()


def test_shipped_model_is_loaded_from_the_environment(python: Path, tmp_path: Path) -> None:
    program = "import hrm_mlx; hrm_mlx.load('sudoku-9x9'); print(hrm_mlx.__file__)"
    loaded = Path(succeed(python, "-c", program, folder=tmp_path).strip())
    assert loaded.is_relative_to(python.parent.parent)
