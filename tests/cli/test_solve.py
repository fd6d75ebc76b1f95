"""`hrm solve` on models that know several puzzles: the one that is meant is asked, and nothing is guessed."""

import gzip
import json
import shutil
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import hrm_mlx
from hrm_core.backend import BackendOptions
from hrm_core.inference.evaluation import answer_step_by_step
from hrm_core.parameters import PUZZLE_TABLE
from hrm_core.runs.checkpoint import find_model, load_model, save_model
from hrm_mlx.backend import MLXBackend

Hrm = Callable[..., Any]
TAKEN = "does not know its 3 puzzle identifiers by name; they are taken to be numbered as in"
Refusal = Callable[..., str]

CPU = BackendOptions(device="cpu")
SMALL = ["--set", "train.global_batch_size=2", "--max-updates", "2", "--device", "cpu"]
TASKS = ("flip", "turn", "new")
TASK = {
    "train": [
        {"input": [[1, 2]], "output": [[2, 1]]},
        {"input": [[3, 4, 0]], "output": [[0, 4, 3]]},
    ]
}
TESTS = [
    {"input": [[5, 6, 7, 8]], "output": [[8, 7, 6, 5]]},
    {"input": [[7], [8], [7]], "output": [[7], [8], [7]]},
]


@pytest.fixture(scope="module")
def arc(tmp_path_factory: pytest.TempPathFactory, hrm: Hrm, tiny_config: Path) -> Path:
    """A folder with tasks in `evaluation`, `data` of two of them, and `run`, trained on it; copy it before changing anything."""
    folder = tmp_path_factory.mktemp("arc")
    (folder / "evaluation").mkdir()
    for number, name in enumerate(TASKS):
        task = {**TASK, "test": TESTS}
        (folder / "evaluation" / f"{name}.json").write_text(
            json.dumps(task).replace("4", str(4 + number))
        )
    tasks = [folder / "evaluation" / f"{name}.json" for name in TASKS[:2]]
    assert (
        hrm("data", "arc", folder / "data", "--tasks", *tasks, "--canvas", 4, "--augment", 4).status
        == 0
    )
    outcome = hrm("train", tiny_config, "--data", folder / "data", "--run", folder / "run", *SMALL)
    assert outcome.status == 0, outcome.err
    return folder


def arc_file(folder: Path, name: str) -> Path:
    return folder / "evaluation" / f"{name}.json"


@pytest.fixture(scope="module")
def mine(tmp_path_factory: pytest.TempPathFactory, hrm: Hrm, tiny_config: Path) -> Path:
    """A folder with `data` of two named puzzles of text grids, and `model.safetensors` that answers them very differently."""
    folder = tmp_path_factory.mktemp("mine")
    rows = [
        f"{word},{answer},{name}"
        for word in ("ab", "bc", "ca", "cb")
        for name, answer in (("same", word), ("swap", word[::-1]))
    ]
    (folder / "mine.csv").write_text("\n".join(["input,output,name", *rows]))
    assert hrm("data", "grids", folder / "data", folder / "mine.csv", "--test-share", 0).status == 0
    assert (
        hrm("train", tiny_config, "--data", folder / "data", "--run", folder / "run", *SMALL).status
        == 0
    )
    model = load_model(find_model(folder / "run"))
    table = (
        np.random.default_rng(0).normal(0, 3, model.weights[PUZZLE_TABLE].shape).astype(np.float32)
    )
    save_model(
        folder / "model.safetensors",
        model.config,
        model.task,
        {**model.weights, PUZZLE_TABLE: table},
    )
    return folder


def test_task_is_asked_as_the_one_its_file_is_named_after(
    hrm: Hrm, arc: Path, tmp_path: Path
) -> None:
    outcome = hrm(
        "solve",
        arc / "run",
        arc_file(arc, "flip"),
        "--gif",
        tmp_path / "x.gif",
        "--png",
        tmp_path / "x.png",
    )
    assert (
        outcome.out.count("asked under 5 identifiers of flip\n")
        == outcome.out.count("attempt 1: ")
        == len(TESTS)
    )
    assert outcome.status in (0, 1)
    for path in (tmp_path / "x.gif", tmp_path / "x.png"):
        with Image.open(path) as picture:
            assert min(picture.size) > 50
    records = [
        json.loads(line)
        for line in hrm(
            "solve", arc / "run", arc_file(arc, "flip"), "--votes", 3, "--json"
        ).out.splitlines()
    ]
    assert [(record["identifier"], record["num_identifiers"]) for record in records] == [
        ("flip", 3)
    ] * len(TESTS)
    assert [json.loads(record["question"]) for record in records] == [
        test["input"] for test in TESTS
    ]
    for record, test in zip(records, TESTS, strict=True):
        assert 1 <= sum(attempt["votes"] for attempt in record["attempts"]) <= 3
        assert record["accepted"] == any(
            json.loads(attempt["answer"]) == test["output"] for attempt in record["attempts"]
        )
    piped = hrm(
        "solve",
        arc / "run",
        "-",
        "--identifier",
        "flip",
        "--votes",
        3,
        "--json",
        stdin=arc_file(arc, "flip").read_text(),
    )
    assert [json.loads(line) for line in piped.out.splitlines()] == records


def test_attempts_are_those_of_the_submission_that_eval_writes(
    hrm: Hrm, arc: Path, tmp_path: Path
) -> None:
    assert hrm("eval", arc / "run", "--submission", tmp_path / "submission.json").status == 0
    expected = json.loads((tmp_path / "submission.json").read_text())
    assert expected.keys() == set(TASKS[:2])
    for name, attempts in expected.items():
        lines = hrm(
            "solve", arc / "run", arc_file(arc, name), "--halt", "fixed", "--json"
        ).out.splitlines()
        for line, wanted in zip(lines, attempts, strict=True):
            found = [json.loads(attempt["answer"]) for attempt in json.loads(line)["attempts"]]
            assert [*found, *[[[0, 0], [0, 0]]] * 2][:2] == list(wanted.values())


def test_exit_status_says_whether_the_known_solution_was_found(
    hrm: Hrm, arc: Path, tmp_path: Path
) -> None:
    found = json.loads(
        hrm("solve", arc / "run", arc_file(arc, "flip"), "--json").out.splitlines()[0]
    )
    statuses = []
    for output in (json.loads(found["attempts"][-1]["answer"]), [[9, 9, 9]], None):
        test = {"input": TESTS[0]["input"]} | ({"output": output} if output else {})
        (tmp_path / "flip.json").write_text(json.dumps({**TASK, "test": [test]}))
        outcome = hrm("solve", arc / "run", tmp_path / "flip.json", "--json")
        again = json.loads(outcome.out)
        assert again["attempts"] == found["attempts"]
        statuses.append((outcome.status, again["accepted"]))
    assert statuses == [(0, True), (1, False), (0, None)]


def test_task_that_was_never_trained_is_refused_asked_as_none_or_added(
    hrm: Hrm, refusal: Refusal, arc: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = Path(shutil.copytree(arc, tmp_path / "arc"))
    monkeypatch.chdir(folder)
    message = refusal("solve", "run", "evaluation/new.json")
    assert message == (
        "new was never trained by run, so it has no puzzle identifier; ask under the blank one with --identifier blank, or train it: "
        "hrm data arc DATA --add evaluation/new.json, then hrm train CONFIG --init run --data DATA --run NEW"
    )
    blank = hrm("solve", "run", "evaluation/new.json", "--identifier", "blank")
    assert blank.out.count("asked under the blank identifier\n") == len(TESTS)
    assert json.loads(
        hrm(
            "solve", "run", "evaluation/new.json", "--identifier", "blank", "--json"
        ).out.splitlines()[0]
    )["identifier"] == ("blank")
    before = hrm("solve", "run", "evaluation/flip.json").out
    assert hrm("data", "arc", "data", "--add", "evaluation/new.json").status == 0
    assert (
        hrm("solve", "run", "evaluation/flip.json").out == before
    )  # the names that the run keeps, not those of the data now
    assert "data is not the data set run was trained on" in refusal(
        "solve", "run", "evaluation/flip.json", "--data", "data"
    )
    grown = hrm(
        "train",
        "run/config.yaml",
        "--init",
        "run",
        "--data",
        "data",
        "--run",
        "grown",
        "--device",
        "cpu",
    )
    assert grown.status == 0, grown.err
    assert "the puzzle identifiers of --init are kept, 11 of 16" in grown.err
    assert hrm("solve", "grown", "evaluation/new.json").out.count(
        "asked under 5 identifiers of new\n"
    ) == len(TESTS)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('{"train": [', "x.json: the task is not JSON ("),
        ("[[1,2],[3", "x.json: grid 1 is not JSON ("),
        ("[" * 100_000, "x.json: grid 1 is not JSON ("),
        (
            "{}",
            "x.json: the task has no list of train pairs, expected 1 to 100, each an input and an output",
        ),
        (json.dumps(TASK), "x.json: the task has no list of test pairs, expected 1 to 100"),
        (json.dumps({**TASK, "test": []}), "x.json: the task has 0 test pairs, expected 1 to 100"),
        (
            json.dumps({**TASK, "test": [{"input": [[0] * 31]}]}),
            "x.json: the task: test pair 1, input is 1x31, expected 1x1 to 30x30",
        ),
        (
            json.dumps({**TASK, "test": [{"input": [[0] * 5]}]}),
            "x.json: grid 1 is 1x5, expected at most 4x4",
        ),
        (
            json.dumps({**TASK, "test": [{"input": [[1, 10]]}]}),
            "x.json: the task: test pair 1, input: row 1 holds 10, expected colours 0 to 9",
        ),
        (
            json.dumps({**TASK, "test": [{"input": [[1], [1, 2]]}]}),
            "x.json: the task: test pair 1, input: row 2 has 2 cells, row 1 has 1",
        ),
        (
            json.dumps({**TASK, "test": [{"output": [[1]]}]}),
            "x.json: the task: test pair 1 has no input",
        ),
        ("\ud801", "x.json is no text; expected a puzzle as text"),
        ("12\n3", "x.json: grid 1: row 2 has 1 cells, row 1 has 2"),
        (
            "12\n34",
            "run was trained on 2 puzzles (flip, turn), and which of them is asked is not said; name it with --identifier, or",
        ),
    ],
)
def test_what_is_no_task_is_refused(
    refusal: Refusal, arc: Path, tmp_path: Path, content: str, message: str
) -> None:
    (tmp_path / "x.json").write_bytes(content.encode(errors="surrogatepass"))
    assert message in refusal("solve", arc / "run", tmp_path / "x.json")


def test_answers_are_those_of_the_identifier_that_is_named(hrm: Hrm, mine: Path) -> None:
    """The control: each name changes the answer, and it is the answer to that row of the puzzle table."""
    model = load_model(mine / "model.safetensors")
    backend = MLXBackend(model.config, CPU)
    backend.load_weights(model.weights)
    solver = hrm_mlx.load(mine / "model.safetensors", CPU, data=mine / "data")
    question = solver.task.parse("ab")
    found = {}
    for number, name in enumerate(["blank", "same", "swap"]):
        warned = pytest.warns(UserWarning, match=TAKEN) if number else nullcontext()
        with warned:
            solutions = solver.solve("ab", identifier=name)
        expected = answer_step_by_step(backend, question, np.array([number]), halt="q")
        np.testing.assert_array_equal(
            solutions[0].answers, expected.answers[: expected.steps[0], 0]
        )
        np.testing.assert_array_equal(
            solutions[0].q_halt_logits, expected.q_halt_logits[: expected.steps[0], 0]
        )
        warned = pytest.warns(UserWarning, match=TAKEN) if number else nullcontext()
        with warned:
            outcome = hrm(
                "solve",
                mine / "model.safetensors",
                "ab",
                "--identifier",
                name,
                "--data",
                mine / "data",
                "--device",
                "cpu",
                "--json",
            )
        record = json.loads(outcome.out)
        assert (outcome.status, record["identifier"], record["num_identifiers"]) == (0, name, 1)
        assert record["q_halt"] == pytest.approx(solutions[0].q_halt_logits.tolist(), abs=1e-3)
        found[name] = record["q_halt"][0]
    assert len(set(found.values())) == 3


def test_named_puzzles_are_asked_by_name_or_not_at_all(
    hrm: Hrm, refusal: Refusal, mine: Path
) -> None:
    assert (
        hrm("solve", mine / "run", "ab", "--identifier", "swap").out.splitlines()[-2]
        == "asked under the identifier of swap"
    )
    assert (
        hrm("solve", mine / "run", "ab", "--identifier", "blank").out.splitlines()[-2]
        == "asked under the blank identifier"
    )
    assert (
        "run was trained on 2 puzzles (same, swap), and which of them is asked is not said"
        in refusal("solve", mine / "run", "ab")
    )
    assert "swop was never trained by" in (
        message := refusal("solve", mine / "run", "ab", "--identifier", "swop")
    )
    assert "known are 2 puzzles (same, swap)" in message


def test_data_set_that_moved_is_named(
    hrm: Hrm, refusal: Refusal, mine: Path, arc: Path, tmp_path: Path
) -> None:
    lone = mine / "model.safetensors"
    assert "does not say what its 3 puzzle identifiers are called" in refusal(
        "solve", lone, "ab", "--identifier", "swap"
    )
    assert hrm("solve", lone, "ab", "--identifier", "blank").status == 0
    moved = Path(shutil.copytree(mine / "data", tmp_path / "moved"))
    with pytest.warns(UserWarning, match=TAKEN):
        assert hrm("solve", lone, "ab", "--identifier", "swap", "--data", moved).status == 0
    assert "names 11 puzzle identifiers" in refusal(
        "solve", lone, "ab", "--identifier", "swap", "--data", arc / "data"
    )
    assert "is not the data set" in refusal(
        "solve", mine / "run", "ab", "--identifier", "swap", "--data", arc / "data"
    )
    assert "cannot be read" in refusal(
        "solve", lone, "ab", "--identifier", "swap", "--data", tmp_path / "gone"
    )


def test_models_of_one_identifier_say_nothing_of_it(
    hrm: Hrm, refusal: Refusal, tiny_run: Path
) -> None:
    puzzle = "1... ..2. .3.. ...4"
    assert "identifier" not in hrm("solve", tiny_run, puzzle).out
    assert json.loads(hrm("solve", tiny_run, puzzle, "--json").out)["identifier"] == "blank"
    assert (
        hrm("solve", tiny_run, puzzle, "--identifier", "blank").out
        == hrm("solve", tiny_run, puzzle).out
    )
    assert "leave out --identifier" in refusal("solve", tiny_run, puzzle, "--identifier", "x")


def test_votes_choose_what_an_evaluation_with_as_many_chooses(
    hrm: Hrm, tiny_run: Path, tmp_path: Path
) -> None:
    predictions = tmp_path / "predictions.npz"
    asked = ("--halt", "q", "--steps", 4, "--votes", 4)
    assert hrm("eval", tiny_run, *asked, "--save-predictions", predictions).status == 0
    with np.load(predictions) as saved:
        inputs, expected = saved["inputs"], saved["answers"]
    model = hrm_mlx.load(tiny_run, CPU)
    solutions = model.solve_tokens(inputs, votes=4, steps=4)
    np.testing.assert_array_equal([solution.answer for solution in solutions], expected)
    assert {solution.num_answers for solution in solutions} == {4}
    alone = [solution.answer for solution in model.solve_tokens(inputs, steps=4)]
    assert (np.array(alone) != expected).any()  # the control


def test_votes_are_told_of(hrm: Hrm, tiny_run: Path) -> None:
    puzzle = "1... ..2. .3.. ...4"
    record = json.loads(hrm("solve", tiny_run, puzzle, "--votes", 3, "--json").out)
    assert record["num_answers"] == 3
    assert (
        f"given by {record['num_agreeing']} of 3 answers"
        in hrm("solve", tiny_run, puzzle, "--votes", 3).out
    )
    assert "given by" not in hrm("solve", tiny_run, puzzle).out


def test_tasks_without_symmetries_refuse_votes(refusal: Refusal, mine: Path) -> None:
    assert "no symmetries to vote with" in refusal(
        "solve", mine / "run", "ab", "--identifier", "swap", "--votes", 2
    )


def test_solve_takes_csv_files_packed_or_piped(
    hrm: Callable[..., Any], tiny_run: Path, tmp_path: Path
) -> None:
    text = "id;quizzes;solutions\n7;1000002003000004;x\n8;..1....2...3...4;x\n"
    lines = ["1000002003000004", "..1....2...3...4"]
    (tmp_path / "mine.csv").write_text(text)
    (tmp_path / "mine.csv.gz").write_bytes(gzip.compress(text.encode()))
    expected = hrm("solve", tiny_run, *lines, "--json").out
    for name in ("mine.csv", "mine.csv.gz"):
        assert hrm("solve", tiny_run, tmp_path / name, "--json").out == expected
    assert hrm("solve", tiny_run, "-", "--json", stdin=text).out == expected
