"""Models of other tasks: their boards, texts and outcomes on the page."""

import importlib.util
import json
import tempfile
from collections.abc import Callable, Iterator
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from hrm_core.backend import BackendOptions
from hrm_core.config import ModelConfig
from hrm_core.errors import PuzzleError
from hrm_core.tasks.capabilities import Exports
from hrm_core.tasks.registry import label_of
from hrm_tasks.arc.task import Arc
from hrm_tasks.grids.task import Grids
from hrm_tasks.maze.task import Maze
from hrm_tasks.sequences.alphabet import Alphabet
from hrm_tasks.sequences.task import Sequences
from hrm_tasks.sudoku.task import Sudoku
from hrm_tasks.text.task import Text
from hrm_web import site, work

for package in ("starlette", "uvicorn", "httpx2"):
    pytest.importorskip(package, reason=f"{package} is missing: the page is not tested")

Make = Callable[..., Any]
CPU = BackendOptions("cpu", "float32")
KEPT = Path(__file__).parents[1] / "kept"
CRICKET = Path(__file__).parents[1] / "hrm_tasks" / "cricket" / "conftest.py"
SMALL = {
    "puzzle_emb_ndim": 0,
    "H_cycles": 1,
    "L_cycles": 1,
    "H_layers": 1,
    "L_layers": 1,
    "hidden_size": 16,
    "num_heads": 2,
    "pos_encodings": "learned",
    "halt_max_steps": 3,
    "forward_dtype": "float32",
}
BOARDS = [Sudoku(4), Sudoku(9), Maze(6), Arc(5), Grids(" ab", 2, 3)]


def config_of(task: Any, **more: Any) -> ModelConfig:
    sizes = {"vocab_size": task.vocab_size, "seq_len": task.seq_len, "num_puzzle_identifiers": 1}
    return ModelConfig(**{**SMALL, **sizes, "num_chunks": task.num_chunks, **more})


@pytest.fixture
def opened(untrained: Make, served: Make) -> Iterator[Make]:
    """Serve an untrained model of a task."""
    open_pages = []

    def of(task: Any, files: Any = None, **more: Any) -> Any:
        context = served(untrained(config_of(task, **more), label_of(task), files))
        open_pages.append(context)
        return context.__enter__()

    yield of
    for context in open_pages:
        context.__exit__(None, None, None)


@pytest.mark.parametrize("task", BOARDS, ids=repr)
def test_a_board_filled_in_with_its_symbols_is_read_back(task: Any) -> None:
    editor = task.editor()
    assert len(editor.kinds) == task.vocab_size
    asked = [number for number, kind in enumerate(editor.kinds) if kind.is_asked]
    assert editor.blank in asked
    (tokens,) = question_of(task)
    drawn = [editor.kinds[token].symbol for token in tokens]
    rows = [
        "".join(drawn[start : start + editor.width]) for start in range(0, len(drawn), editor.width)
    ]
    assert np.array_equal(task.parse("\n".join(rows)), [tokens])


def question_of(task: Any) -> Any:
    rng = np.random.default_rng(2)
    if hasattr(task, "invent"):
        return task.invent(rng, 1)[0]
    free = len(task.editor().kinds) - task.editor().blank
    return task.editor().blank + rng.integers(free, size=(1, task.seq_len))


@pytest.mark.parametrize("task", [Sudoku(4), Sudoku(6), Maze(8)], ids=repr)
def test_what_a_task_makes_is_a_question_and_its_rating_is_in_range(task: Any) -> None:
    inputs, ratings = task.invent(np.random.default_rng(3), 5)
    lines = [task.line(each) for each in inputs]
    assert np.array_equal(task.parse("\n\n".join(lines)), inputs)
    assert len(set(lines)) == 5
    assert (ratings >= 0).all()


def test_conflicts_of_a_maze_are_changes_dead_ends_and_marks_apart() -> None:
    maze = "#####\n#S..#\n#.#.#\n#..G#\n#####"
    task = Maze(5)
    (question,) = task.parse(maze)
    path, open_cell = 5, 2
    answer = question.copy()
    answer[[7, 8, 13]] = path  # right, right, down
    wrong = answer.copy()
    wrong[13] = open_cell  # the way ends at 8
    wrong[16] = path  # beside nothing that is marked
    wrong[0] = open_cell  # a wall
    both = task.conflicts(np.stack([question] * 2), np.stack([answer, wrong]))
    assert not both[0].any()
    assert np.flatnonzero(both[1]).tolist() == [0, 8, 16]
    assert task.accepts(question, answer)


def test_a_maze_is_watched_like_any_board(opened: Make) -> None:
    page = opened(Maze(6))
    sample = page.client.get("/api/sample", params={"number": 1}).json()
    events = page.events("/api/watch", puzzles=sample["text"])
    steps = [data for name, data in events if name == "step"]
    assert [len(step["tokens"]) for step in steps] == [36] * len(steps)
    assert events[-1][1]["record"]["verdict"].startswith(("broken", "valid", "optimal"))


def test_grids_have_no_verdict_and_no_conflicts(opened: Make) -> None:
    page = opened(Grids(" ab", 2, 3))
    assert page.client.get("/api/model").json()["samples"] is None
    assert "--data" in page.client.get("/api/sample").json()["error"]
    done = page.events("/api/watch", puzzles="ab \nb a")[-1][1]
    assert done["record"]["accepted"] is None
    assert {step["conflicts"] for step in done["steps"]} == {None}


def test_a_task_without_a_board_has_text_and_pictures(
    opened: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in (site, work):
        monkeypatch.setattr(module, "Editable", Exports)  # which Sudoku is not
    page = opened(Sudoku(4))
    assert page.client.get("/api/model").json()["editor"] is None
    steps = page.events("/api/watch", puzzles="1... ..2. .3.. ...4")[-1][1]["steps"]
    for step in steps:
        assert step["text"] == Sudoku(4).format(np.array(step["tokens"]))
        assert step["picture"].startswith("data:image/png;base64,")


def test_a_text_goes_on_token_by_token_with_the_likeliest_beside(opened: Make) -> None:
    task = Text(4, 8, {"alphabet": "abc"})
    settings = {"attention": "causal", "halting": "fixed", "loss_type": "softmax_cross_entropy"}
    page = opened(task, **settings)
    assert page.client.get("/api/model").json()["panels"] == ["generate"]
    events = page.events("/api/generate", prompt="ab", max_tokens=12)
    tokens = [data for name, data in events if name == "token"]
    assert len(tokens) == 12
    assert events[-1][1]["text"] == "".join(token["text"] for token in tokens)
    for token in tokens:
        shares = [each["probability"] for each in token["top"]]
        assert shares == sorted(shares, reverse=True)
        assert len(shares) == 3
        assert 0.5 < sum(shares) < 1  # padding has the rest
        assert token["text"] == token["top"][0]["text"]  # temperature 0
    drawn = [
        page.events("/api/generate", prompt="ab", temp=9.0, seed=s)[-1][1]["text"]
        for s in (1, 1, 2)
    ]
    assert drawn[0] == drawn[1] != drawn[2]


def test_a_prompt_that_cannot_be_read_is_refused(opened: Make) -> None:
    settings = {"attention": "causal", "halting": "fixed", "loss_type": "softmax_cross_entropy"}
    page = opened(Text(4, 8, {"alphabet": "abc"}), **settings)
    assert "'x'" in page.refusal("/api/generate", prompt="abx")
    assert "temp" in page.refusal("/api/generate", prompt="ab", temp=-1)
    assert "max_tokens" in page.refusal("/api/generate", prompt="ab", max_tokens=10**6)
    assert page.refusal("/api/solve", puzzles="ab").startswith("text has no questions")


def test_outcomes_of_a_file_are_those_of_the_report(opened: Make, tmp_path: Path) -> None:
    from hrm_core.data.store import Dataset
    from hrm_core.tasks.registry import task_of_shape
    from hrm_tasks.cricket.build import build
    from hrm_tasks.cricket.options import Options

    spec = importlib.util.spec_from_file_location("making", CRICKET)
    assert spec is not None
    assert spec.loader is not None
    making = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(making)
    build(
        tmp_path / "data", Options(matches=making.write_matches(tmp_path / "all", 6, 4), copies=1)
    )
    data = Dataset(tmp_path / "data")
    metadata = data.split("train").metadata
    task: Any = task_of_shape(
        metadata.vocab_size, metadata.seq_len, data.label or "", metadata.num_chunks
    )
    files = {name: data.text_of(name) for name in task.file_names}
    settings = {"attention": "prefix", "halting": "fixed", "loss_type": "softmax_cross_entropy"}
    page = opened(task, files, **settings, halt_max_steps=metadata.num_chunks)
    match = json.dumps(making.random_match(77, 4, dates=["2021-06-01"]))
    query = {"name": "77.json", "at": "1:2.3"}
    answer = page.client.post("/api/predict", params=query, content=match).json()
    shares = answer["record"]["probabilities"]
    assert sum(shares.values()) == pytest.approx(1, abs=1e-5)
    table = next(each for each in answer["pages"] if isinstance(each, dict))
    assert [row[1] for row in table["rows"]] == [f"{share:.1%}" for share in shares.values()]
    for wrong, words in (
        ({"at": "x"}, "--at x"),
        ({"fan": "f"}, "unknown 'fan'"),
        ({"seed": "z"}, "seed"),
    ):
        refused = page.client.post("/api/predict", params={"name": "a"} | wrong, content=match)
        assert refused.status_code == 400
        assert words in refused.json()["error"]


def test_chances_of_a_picture_name_the_file_that_was_sent(
    picture_model: Path, served: Make, site_of: Make
) -> None:
    picture = BytesIO()
    Image.fromarray(np.arange(256, dtype=np.uint8).reshape(16, 16)).save(picture, "PNG")
    with served(site_of(picture_model)) as page:
        about = page.client.get("/api/model").json()
        assert about["panels"] == ["predict"]
        assert about["options"] == []  # a label is of no use where nothing can be drawn
        assert about["note"] == "for research, not for diagnosis"
        ask = {"params": {"name": "a b.png"}, "content": picture.getvalue()}
        answer = page.client.post("/api/predict", **ask).json()
        (found,) = answer["record"]["pictures"]
        assert found["name"] == "a b.png"
        assert 0 < found["chances"]["Pneumonia"] < 1
        assert answer["pages"][0].splitlines()[0] == "a b.png"
        assert tempfile.gettempdir() not in json.dumps(answer)
        refused = page.client.post("/api/predict", params={"label": "Mass"}, content=b"")
        assert refused.json()["error"] == "the options: unknown 'label' (known: none)"
        refused = page.client.post("/api/predict", params={"name": "x.png"}, content=b"no picture")
        assert refused.json()["error"].startswith("x.png is no picture that can be read")


def test_test_puzzles_of_a_run_are_offered(
    tiny_run: Path, tiny_data: Path, served: Make, site_of: Make
) -> None:
    with served(site_of(tiny_run)) as page:
        assert page.client.get("/api/model").json()["samples"]["source"].startswith("the test set")
        inputs = np.load(tiny_data / "test" / "all__inputs.npy").tolist()
        for number in range(5):
            sample = page.client.get("/api/sample", params={"number": number, "band": 0}).json()
            assert sample["tokens"] in inputs
            assert sample["rating"] == 0


@pytest.mark.filterwarnings("ignore:.*does not know its .* puzzle identifiers by name")
def test_the_known_solution_of_an_arc_task_judges_its_attempts(served: Make, site_of: Make) -> None:
    with served(site_of(KEPT / "arc", KEPT / "data" / "arc")) as page:
        sample = page.client.get("/api/sample", params={"number": 1}).json()
        wish = {"puzzles": sample["text"], "identifier": sample["name"]}
        done = page.events("/api/watch", **wish, solution=sample["solution"])[-1][1]
        assert done["record"]["verdict"] in (
            "no attempt is right",
            "attempt 1 is right",
            "attempt 2 is right",
        )
        first = done["record"]["attempts"][0]["answer"]
        right = page.events("/api/watch", **wish, solution=first)[-1][1]["record"]
        assert (right["accepted"], right["verdict"]) == (True, "attempt 1 is right")
        line = page.refusal("/api/watch", **wish, solution="1 2\n\n3 4")
        assert line == "1 puzzles and 2 solutions; expected one of each"


def test_a_task_of_one_puzzle_at_a_time_is_asked_under_its_name(
    served: Make, site_of: Make
) -> None:
    with served(site_of(KEPT / "arc", KEPT / "data" / "arc")) as page:
        assert page.client.get("/api/model").json()["has_names"]
        events = page.events("/api/watch", puzzles="1 2\n3 4", identifier="nobody")
        assert events[-1][0] == "failed"
        assert events[-1][1]["error"].startswith("nobody was never trained by")
        assert page.refusal("/api/solve", puzzles="1 2", identifier="nobody").startswith(
            "nobody was"
        )


def test_a_model_without_a_panel_is_refused(untrained: Make) -> None:
    task = Sequences(Alphabet(("a", "b")), 6)
    settings = {"attention": "causal", "halting": "fixed", "loss_type": "softmax_cross_entropy"}
    with pytest.raises(PuzzleError, match="is of sequences, which has no panel"):
        untrained(config_of(task, **settings), label_of(task))
