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
from hrm_cli.predict import PredictGroup
from pydantic_core import PydanticUndefined

from hrm_core.config import ArchConfig, OptimConfig, RunConfig, Settings, TrainConfig
from hrm_core.plugins import preset_files, task_packages
from hrm_core.tasks.registry import predictor

REPOSITORY = Path(__file__).parent.parent
README = REPOSITORY / "README.md"
PAGES = [
    REPOSITORY / "README.md",
    REPOSITORY / "CONTRIBUTING.md",
    REPOSITORY / "CHANGELOG.md",
    REPOSITORY / "models" / "README.md",
    REPOSITORY / "hrm_parity" / "recorded" / "README.md",
]
PAGES += sorted((REPOSITORY / "docs").glob("*.md"))
PAGES += sorted((REPOSITORY / "hrm_tasks").glob("*/README.md"))
SECTIONS: dict[str, type[Settings]] = {
    "model": ArchConfig,
    "optim": OptimConfig,
    "train": TrainConfig,
}
MADE_BY_THE_READER = "hrm data latin "  # see docs/own-puzzles.md; test_third_party.py runs it
FLAGS_OF_OTHERS = {"--shutdown-timeout", "--auto-setup"}  # of torchrun, of mlx.distributed_config
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
    context = click.Context(hrm, **hrm.context_settings)  # click keeps what -h means to a command
    while isinstance(command, click.Group):
        if isinstance(command, PredictGroup):  # its commands are models
            return
        name, *words = words
        context = click.Context(command, context)
        command = command.get_command(context, name)
    assert command is not None, f"{name!r} in {line!r} is no command"
    command.make_context(name, words, context)


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
def test_every_command_stands_in_the_table(path: str) -> None:
    table = (REPOSITORY / "docs" / "commands.md").read_text(encoding="utf-8")
    assert re.search(rf"^\| `{path}[ `]", table, flags=re.MULTILINE), (
        f"{path} is not in the table of docs/commands.md"
    )


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(REPOSITORY)))
def test_commands_in_the_pages_parse(page: Path) -> None:
    for line in code_lines(page.read_text(encoding="utf-8")):
        if line.startswith("hrm ") and not line.startswith(MADE_BY_THE_READER):
            parse(line)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(REPOSITORY)))
def test_links_between_pages_lead_somewhere(page: Path) -> None:
    for target, _, anchor in links(page):
        assert target.exists(), f"{page.name} links to {target}"
        assert not anchor or anchor in anchors(target), f"{target.name} has no heading #{anchor}"


def links(page: Path) -> list[tuple[Path, str, str]]:
    """The links of a page to files here, split at #."""
    found = re.findall(r"\]\(([^)\s]+)\)", page.read_text(encoding="utf-8"))
    parts = [target.partition("#") for target in found if not target.startswith("http")]
    return [(page.parent / path if path else page, sign, anchor) for path, sign, anchor in parts]


def anchors(page: Path) -> set[str]:
    """The anchors that GitHub gives to the headings of a page."""
    headings = re.findall(r"^#+ (.+)$", page.read_text(encoding="utf-8"), flags=re.MULTILINE)
    words = [re.sub(r"[^\w\- ]", "", heading.lower()) for heading in headings]
    return {heading.replace(" ", "-") for heading in words}


def code_spans(page: Path) -> list[str]:
    """The code spans of a page, outside fenced blocks."""
    text = re.sub(r"^ *```.*?^ *```", "", page.read_text(encoding="utf-8"), flags=re.S | re.M)
    return re.findall(r"`([^`]+)`", text)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(REPOSITORY)))
def test_paths_in_the_pages_exist(page: Path) -> None:
    folders = {folder.name for folder in top_folders()}
    for span in code_spans(page):
        is_path = re.fullmatch(r"[\w./<>*-]+/[\w./<>*-]*", span)
        if is_path and span.partition("/")[0] in folders:
            pattern = re.sub(r"<\w+>", "*", span).rstrip("/")
            assert any(REPOSITORY.glob(pattern)), f"{page.name} names {span}, which does not exist"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(REPOSITORY)))
def test_modules_in_the_pages_exist(page: Path) -> None:
    for module in re.findall(r"python -m ([\w.]+\w)", page.read_text(encoding="utf-8")):
        path = REPOSITORY / module.replace("hrm_cli", "cli").replace(".", "/")
        is_there = path.with_suffix(".py").is_file() or (path / "__main__.py").is_file()
        assert is_there, f"{page.name} runs {module}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(REPOSITORY)))
def test_flags_in_the_pages_exist(page: Path) -> None:
    known = {flag for command in LEAVES.values() for flag in flags_of(command)}
    known |= flags_of_predictions()
    for span in code_spans(page):
        if span.startswith(("--", "hrm ")):
            unknown = set(re.findall(r"(?<!\S)--[a-z][a-z-]*", span)) - known - FLAGS_OF_OTHERS
            assert not unknown, f"{page.name} names {unknown}, which no command has"


def flags_of_predictions() -> set[str]:
    """Flags of `hrm predict`, which come from the task of a model."""
    found = [predictor(name) for name in task_packages()]
    options = [each.Options for each in found if each is not None]
    names = {name for each in options for name in each.model_fields}
    return {f"--{name.replace('_', '-')}" for name in names}


def flags_of(command: click.Command) -> set[str]:
    options = [parameter.opts + parameter.secondary_opts for parameter in command.params]
    return {"--help"}.union(*options)


def test_the_readme_is_short_and_leads_to_every_page() -> None:
    assert len(README.read_text(encoding="utf-8").splitlines()) <= 130
    linked = {target.resolve() for target, _, _ in links(README)}
    for page in (REPOSITORY / "docs").glob("*.md"):
        assert page in linked, f"the README does not link to {page.name}"


def test_the_file_tree_of_the_readme_is_the_real_one() -> None:
    named = tree_paths(README.read_text(encoding="utf-8"))
    for path in named:
        assert (REPOSITORY / path).is_dir(), f"{path} stands in the file tree and does not exist"
    packages = [folder for top in top_folders() for folder in top.glob("*/__init__.py")]
    inside = [file.parent for file in packages]
    for folder in [*top_folders(), *inside]:
        path = f"{folder.relative_to(REPOSITORY)}/"
        assert path in named, f"{path} does not stand in the file tree"


def top_folders() -> list[Path]:
    """The folders of the repository that hold code or pages; not hidden or ignored ones."""
    ignored = {line.strip("/") for line in (REPOSITORY / ".gitignore").read_text().splitlines()}
    files = [*REPOSITORY.glob("[!.]*/*.py"), *REPOSITORY.glob("[!.]*/*.md")]
    return sorted({file.parent for file in files if file.parent.name not in ignored})


def tree_paths(text: str) -> set[str]:
    """The folders of the block under "Files": indentation says what lies in what, the name comes first."""
    block = re.search(r"^## Files\n.*?^```\n(.*?)^```", text, flags=re.DOTALL | re.MULTILINE)
    assert block, "the README has no file tree"
    paths: set[str] = set()
    top = ""
    for line in block[1].splitlines():
        name = line.split()[0]
        top = top if line.startswith(" ") else name
        paths.add(top + name if line.startswith(" ") else name)
    return paths


def test_every_preset_stands_in_the_page_on_training() -> None:
    named = code_spans(REPOSITORY / "docs" / "training.md")
    for preset in preset_files():
        assert preset.removesuffix("-mac") in named, f"docs/training.md does not name {preset}"


@pytest.mark.parametrize("section", SECTIONS)
def test_every_setting_is_explained_with_its_default(section: str) -> None:
    page = (REPOSITORY / "docs" / "configuration.md").read_text(encoding="utf-8")
    explained = dict(
        re.findall(rf"^\| `{section}\.(\w+)` \| ([^|]+?) \|", page, flags=re.MULTILINE)
    )
    assert explained == {name: default_of(section, name) for name in SECTIONS[section].model_fields}


def default_of(section: str, name: str) -> str:
    default = SECTIONS[section].model_fields[name].default
    if name in ("vocab_size", "seq_len", "num_puzzle_identifiers", "num_chunks", "image_size"):
        return "the data's"
    if default is PydanticUndefined:
        return "required"
    if isinstance(default, bool):  # as YAML writes it
        return f"`{str(default).lower()}`"
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
