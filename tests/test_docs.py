"""The pages and the help tell the truth: every example parses, every setting, command and file that exists is named."""

import inspect
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
from hrm_cli.main import COMMANDS, hrm
from pydantic_core import PydanticUndefined

from hrm_core.config import ArchConfig, OptimConfig, RunConfig, Settings, TrainConfig

REPOSITORY = Path(__file__).parent.parent
README = REPOSITORY / "README.md"
PAGES = [
    REPOSITORY / "README.md",
    REPOSITORY / "CONTRIBUTING.md",
    REPOSITORY / "CHANGELOG.md",
    REPOSITORY / "models" / "README.md",
]
PAGES += sorted((REPOSITORY / "docs").glob("*.md"))
PAGES += sorted((REPOSITORY / "hrm_tasks").glob("*/README.md"))
SECTIONS: dict[str, type[Settings]] = {
    "model": ArchConfig,
    "optim": OptimConfig,
    "train": TrainConfig,
}
FRAMEWORKS = {"mlx", "torch", "matplotlib", "tensorboardX", "huggingface_hub"}


def all_commands(command: click.Command, path: str) -> Iterator[tuple[str, click.Command]]:
    """Every command that does something, with its name as one types it; a group only shows others."""
    if not isinstance(command, click.Group):
        yield path, command
        return
    context = click.Context(command)
    for name in command.list_commands(context):
        found = command.get_command(context, name)
        assert found is not None, f"{path} lists {name} but does not know it"
        yield from all_commands(found, f"{path} {name}")


LEAVES = dict(all_commands(hrm, "hrm"))


def code_lines(text: str) -> list[str]:
    """The lines of all fenced blocks, continued lines joined and comments cut off."""
    blocks = re.findall(r"^```\w*\n(.*?)^```", text, flags=re.DOTALL | re.MULTILINE)
    return [
        line.split("  #")[0].strip()
        for block in blocks
        for line in block.replace("\\\n", " ").splitlines()
    ]


def parse(line: str) -> None:
    """Let click read a command line, without running it."""
    _, *words = shlex.split(line)
    command: click.Command | None = hrm
    while isinstance(command, click.Group):
        name, *words = words
        command = command.get_command(click.Context(command), name)
    assert command is not None, f"{name!r} in {line!r} is no command"
    command.make_context(name, words)


@pytest.mark.parametrize("path", LEAVES)
def test_help_is_a_sentence_and_examples_that_parse(path: str) -> None:
    description, found, examples = inspect.cleandoc(LEAVES[path].help or "").partition(
        "\b\nExample"
    )
    assert found, f"{path} has no example"
    assert re.match(r"[A-Z][^.]+\.(\s|$)", description.strip()), (
        f"the help of {path} does not begin with a sentence"
    )
    lines = [line.strip() for line in examples.splitlines()[1:] if line.strip()]
    assert lines, f"{path} has no example"
    for line in lines:
        assert line.startswith(path), f"{line!r} is no example of {path}"
        parse(line)


def test_the_list_of_commands_has_one_sentence_each() -> None:
    for name, sentence in COMMANDS.items():
        assert re.fullmatch(r"[A-Z][^.]+\.", sentence), f"{name}: {sentence}"


@pytest.mark.parametrize("path", LEAVES)
def test_every_command_stands_in_the_readme(path: str) -> None:
    assert re.search(rf"^\| `{path}[ `]", README.read_text(encoding="utf-8"), flags=re.MULTILINE), (
        f"{path} is not in the table of commands"
    )


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(REPOSITORY)))
def test_commands_in_the_pages_parse(page: Path) -> None:
    for line in code_lines(page.read_text(encoding="utf-8")):
        if line.startswith("hrm "):
            parse(line)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(REPOSITORY)))
def test_links_between_pages_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#]+)", page.read_text(encoding="utf-8")):
        if not target.startswith("http"):
            assert (page.parent / target).exists(), f"{page.name} links to {target}"


def test_the_file_tree_of_the_readme_is_the_real_one() -> None:
    named = tree_paths(README.read_text(encoding="utf-8"))
    for path in named:
        assert any(REPOSITORY.glob(path)), f"{path} stands in the file tree and does not exist"
    for package in (
        "cli",
        "convert",
        "hrm_core",
        "hrm_mlx",
        "hrm_torch_ref",
        "hrm_parity",
        "benchmarks",
        "tests",
        "docs",
    ):
        for folder in [REPOSITORY / package, *(REPOSITORY / package).rglob("*/")]:
            if any(folder.glob("*.py")) and package != "tests":
                assert f"{folder.relative_to(REPOSITORY)}/" in named, (
                    f"{folder} does not stand in the file tree"
                )


def tree_paths(text: str) -> set[str]:
    """The paths of the block under "Files": indentation says what lies in what, the description starts after two spaces."""
    block = re.search(r"^## Files\n.*?^```\n(.*?)^```", text, flags=re.DOTALL | re.MULTILINE)
    assert block, "the README has no file tree"
    paths: set[str] = set()
    folders: list[str] = []
    for line in block[1].splitlines():
        indent = len(line) - len(line.lstrip())
        for name in re.split(r"\s{2,}", line.strip())[0].split():
            folders = folders[: indent // 2]
            paths.add("".join(folders) + name)
            if name.endswith("/"):
                folders.append(name)
    return paths


@pytest.mark.parametrize("section", SECTIONS)
def test_every_setting_is_explained_with_its_default(section: str) -> None:
    page = (REPOSITORY / "docs" / "configuration.md").read_text(encoding="utf-8")
    explained = dict(
        re.findall(rf"^\| `{section}\.(\w+)` \| ([^|]+?) \|", page, flags=re.MULTILINE)
    )
    assert explained == {name: default_of(section, name) for name in SECTIONS[section].model_fields}


def default_of(section: str, name: str) -> str:
    default = SECTIONS[section].model_fields[name].default
    if name in ("vocab_size", "seq_len", "num_puzzle_identifiers"):
        return "the data's"
    if default is PydanticUndefined:
        return "required"
    return "`null`" if default is None else f"`{default}`"


def test_no_section_of_the_settings_is_left_out() -> None:
    written_by_the_run = {"data", "init", "environment"}
    assert set(RunConfig.model_fields) - written_by_the_run == set(SECTIONS)


def test_the_example_data_set_can_be_built(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    page = (REPOSITORY / "docs" / "data.md").read_text(encoding="utf-8")
    example = re.search(r"^```python\n(.*?)^```", page, flags=re.DOTALL | re.MULTILINE)
    assert example, "docs/data.md shows how to write a data set"
    exec(example[1], {})
    assert (tmp_path / "data" / "reversed" / "train" / "dataset.json").is_file()


def test_hrm_help_loads_no_framework_and_not_even_numpy() -> None:
    assert loaded_by(["hrm", "--help"]).isdisjoint({*FRAMEWORKS, "numpy"})


def test_no_help_loads_a_framework() -> None:
    assert loaded_by(*([*shlex.split(path), "--help"] for path in LEAVES)).isdisjoint(FRAMEWORKS)


def loaded_by(*command_lines: list[str]) -> set[str]:
    """Top-level modules that a fresh process holds after these commands."""
    program = "import sys; from hrm_cli.main import main\n"
    program += "".join(f"sys.argv = {line}; assert main() == 0\n" for line in command_lines)
    program += "print('loaded:', *{name.partition('.')[0] for name in sys.modules})"
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd=REPOSITORY
    )
    return set(done.stdout.splitlines()[-1].split()[1:])
