"""Every command on small real input, and what it says to bad input."""

import csv
import json
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from hrm_cli.options import write_then_show
from PIL import Image

import hrm_mlx
from hrm_core.backends import BackendMaker
from hrm_core.config import load_config
from hrm_core.data.store import load_split
from hrm_core.errors import ConfigError, HRMError
from hrm_mlx import blas, devices
from hrm_mlx.backend import MLXBackend
from hrm_tasks.sudoku.task import Sudoku

Hrm = Callable[..., Any]
Refusal = Callable[..., str]
HEADER = "source,question,answer,rating"
LINE = "mine,12..............,1234341221434321,7"
PUZZLE = "1... ..2. .3.. ...4"


@pytest.fixture
def train_csv(tmp_path: Path) -> Path:
    path = tmp_path / "train.csv"
    path.write_text("\n".join([HEADER, LINE, "mine,..34............,1234341221434321,0", ""]))
    return path


def test_data_sudoku_reads_csv_files(hrm: Hrm, train_csv: Path, tmp_path: Path) -> None:
    with pytest.warns(
        UserWarning,
        match="^test questions that are also trained on: 2; accuracy on them is no accuracy on new puzzles$",
    ):
        outcome = hrm(
            "data",
            "sudoku",
            tmp_path / "out",
            "--train-csv",
            train_csv,
            "--test-csv",
            train_csv,
            "--augment",
            3,
            "--json",
        )
    build = json.loads(outcome.out)
    assert (
        build["train_examples"],
        build["test_puzzles"],
        build["test_questions_in_training"],
    ) == (8, 2, 2)
    assert load_split(tmp_path / "out", "train").sets["all"].ratings.tolist() == [7] * 4 + [0] * 4


def test_data_sudoku_generates(hrm: Hrm, tmp_path: Path) -> None:
    outcome = hrm("data", "sudoku", tmp_path / "out", "--generate", 12, "--size", 6, "--test", 4)
    assert (
        outcome.out == f"{tmp_path / 'out'}: 12 training examples of 12 puzzles, 4 test puzzles\n"
    )
    assert load_split(tmp_path / "out", "test").metadata.seq_len == 36


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "train.csv:1: the header is ''"),
        (f"{HEADER}\n{LINE},x\n", "train.csv:2: 5 columns"),
        (f"{HEADER}\n{LINE}\n{LINE[:-1]}\n", "train.csv:3: the rating is ''"),
        (
            f"{HEADER}\n{LINE.replace('12..', '12.x')}\n",
            "train.csv:2: 'x' at place 4 of the question",
        ),
        (
            f"{HEADER}\n{LINE.replace('12..', '13..')}\n",
            "train.csv:2: the answer has 2 at row 1, column 2; expected 3",
        ),
    ],
)
def test_bad_csv_is_refused_with_file_and_line(
    refusal: Refusal, tmp_path: Path, content: str, message: str
) -> None:
    (tmp_path / "train.csv").write_text(content)
    assert message in refusal(
        "data", "sudoku", tmp_path / "out", "--train-csv", tmp_path / "train.csv"
    )
    assert [path.name for path in tmp_path.iterdir()] == ["train.csv"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "give one of --source hf://OWNER/NAME, --train-csv FILE and --generate N"),
        (
            ["--generate", "3", "--train-csv", "x"],
            "give one of --source hf://OWNER/NAME, --train-csv FILE and --generate N",
        ),
        (["--generate", "3", "--subsample", "2"], "--subsample goes with --source or --train-csv"),
        (
            ["--train-csv", "x", "--givens", "1", "2"],
            "--givens, --size and --test go with --generate",
        ),
        (["--train-csv", "nope.csv"], "nope.csv: No such file or directory"),
        (
            ["--generate", "3", "--givens", "9", "3"],
            "givens=(9, 3); expected the least and the most",
        ),
        (["--generate", "3", "--size", "5"], "'5' is not one of '4', '6', '9'"),
    ],
)
def test_bad_build_is_refused(
    refusal: Refusal, tmp_path: Path, arguments: list[str], message: str
) -> None:
    assert message in refusal("data", "sudoku", tmp_path / "out", *arguments)
    assert not list(tmp_path.iterdir())


def test_small_boards_run_out_of_puzzles_in_one_line(refusal: Refusal, tmp_path: Path) -> None:
    told = refusal("data", "sudoku", tmp_path / "out", "--generate", 300, "--size", 4, "--test", 5)
    assert (
        told
        == "0 test puzzles found that are equivalent to none of 300 training puzzles, not 5; ask for fewer, or for other --givens"
    )
    assert not (tmp_path / "out").exists()


def test_empty_path_is_not_the_current_folder(refusal: Refusal) -> None:
    assert (
        refusal("data", "arc", "out", "--tasks", "")
        == "Invalid value for '--tasks': it is empty; expected a path"
    )
    assert (
        refusal("train", "", "--run", "new")
        == "Invalid value for 'PRESET|CONFIG': it is empty; expected a path"
    )
    assert (
        refusal("data", "inspect", "")
        == "Invalid value for 'DIRECTORY': it is empty; expected a path"
    )


def test_missing_split_is_named_with_the_other(
    refusal: Refusal, hrm: Hrm, tmp_path: Path, tiny_run: Path
) -> None:
    assert (
        hrm("data", "sudoku", tmp_path / "data", "--generate", 3, "--size", 4, "--test", 0).status
        == 0
    )
    told = refusal("eval", tiny_run, "--data", tmp_path / "data")
    assert (
        told
        == f"{tmp_path / 'data'} has no test split, only train; choose --split train, or build it with test examples"
    )


def test_data_is_not_written_over(refusal: Refusal, tiny_data: Path) -> None:
    assert "is not empty; choose another directory" in refusal(
        "data", "sudoku", tiny_data, "--generate", 3
    )


def test_data_inspect_counts_and_draws(hrm: Hrm, tiny_data: Path, tmp_path: Path) -> None:
    outcome = hrm("data", "inspect", tiny_data, "--sheet", tmp_path / "sheet.png", "--rows", 3)
    assert "120 examples of 120 puzzles in 60 groups" in outcome.out
    assert outcome.err == f"drawn: {tmp_path / 'sheet.png'}\n"
    with Image.open(tmp_path / "sheet.png") as sheet:
        assert min(sheet.size) > 200
    assert (
        json.loads(hrm("data", "inspect", tiny_data, "--json").out)["splits"]["test"]["sets"][
            "all"
        ]["examples"]
        == 20
    )


def test_damaged_data_is_refused(
    refusal: Refusal, tiny_data: Path, tiny_config: Path, tmp_path: Path
) -> None:
    data = Path(shutil.copytree(tiny_data, tmp_path / "data"))
    labels = data / "train" / "all__labels.npy"
    labels.write_bytes(labels.read_bytes()[:-1])
    for command in (
        ["data", "inspect", data],
        ["train", tiny_config, "--data", data, "--run", tmp_path / "run"],
    ):
        assert "all__labels.npy is" in refusal(*command)
    labels.unlink()
    assert "all__labels.npy is missing" in refusal("data", "inspect", data)
    assert not (tmp_path / "run").exists()
    assert "is not a data set" in refusal("data", "inspect", tmp_path)


def test_data_of_a_newer_layout_is_refused(
    refusal: Refusal, tiny_data: Path, tiny_config: Path, tiny_run: Path, tmp_path: Path
) -> None:
    data = Path(shutil.copytree(tiny_data, tmp_path / "data"))
    build = json.loads((data / "build.json").read_text())
    (data / "build.json").write_text(json.dumps({**build, "layout": 2}))
    for command in (
        ["data", "inspect", data],
        ["data", "arc", data, "--add", tmp_path],
        ["train", tiny_config, "--data", data, "--run", tmp_path / "run"],
        ["eval", tiny_run, "--data", data],
    ):
        assert (
            refusal(*command)
            == f"{data} was written by a newer hrm-mlx (layout 2, this one knows 1); upgrade hrm-mlx"
        )


def test_eval_prints_exact_accuracy_first(hrm: Hrm, tiny_run: Path, tmp_path: Path) -> None:
    outcome = hrm("eval", tiny_run, "--limit", 15, "--save-predictions", tmp_path / "p.npz")
    assert (outcome.status, outcome.err) == (0, "")
    assert (
        outcome.out.index("exact")
        < outcome.out.index("all cells")
        < outcome.out.index("blank cells")
    )
    assert "rating 0" in outcome.out
    with np.load(tmp_path / "p.npz") as saved:
        values = json.loads(hrm("eval", tiny_run, "--limit", 15, "--json").out)
        assert values["exact_accuracy"] == (saved["answers"] == saved["labels"]).all(axis=1).mean()
    assert (list(values)[2], values["count"]) == ("exact_accuracy", 15)


def test_eval_measures_what_training_measured(hrm: Hrm, tiny_run: Path) -> None:
    logged = json.loads((tiny_run / "log.jsonl").read_text().splitlines()[-1])
    values = json.loads(hrm("eval", tiny_run, "--limit", 10, "--json", "--device", "cpu").out)
    assert {name: values[name] for name in ("accuracy", "exact_accuracy", "count")} == {
        name: logged[name] for name in ("accuracy", "exact_accuracy", "count")
    }


def test_eval_of_a_lone_file_needs_data_of_its_size(
    hrm: Hrm, refusal: Refusal, tiny_run: Path, tiny_data: Path, tmp_path: Path
) -> None:
    model = Path(
        shutil.copy(
            tiny_run / "checkpoints" / "update_00000024" / "model.safetensors",
            tmp_path / "m.safetensors",
        )
    )
    assert refusal("eval", model).endswith(
        "does not say what it was trained on; name a data set with --data"
    )
    assert hrm("eval", model, "--data", tiny_data).status == 0
    assert (
        hrm("data", "sudoku", tmp_path / "6x6", "--generate", 5, "--size", 6, "--test", 2).status
        == 0
    )
    assert "vocab_size=8, expected 6; seq_len=36, expected 16" in refusal(
        "eval", model, "--data", tmp_path / "6x6"
    )


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            ["--save-predictions", "/nope/p.npz"],
            "cannot write /nope/p.npz: there is no folder /nope; make it first",
        ),
        (
            ["--halt", "both", "--save-predictions", "p.npz"],
            "--halt both gives two answers to each puzzle; choose fixed or q",
        ),
        (["--noise", "nan"], "--noise nan is no standard deviation; try 0.1"),
        (["--rollouts", "2"], "rollouts differ by their noise; add --noise, e.g. --noise 0.1"),
        (["--submission", "s.json"], "--submission is for ARC"),
        (
            ["--submission", "s.json", "--limit", "3"],
            "a submission answers every task; leave out --limit",
        ),
        (
            ["--submission", "s.json", "--split", "train"],
            "a submission answers the test inputs; leave out --split train",
        ),
        (
            ["--sheet", "a.png", "--save-predictions", "./a.png"],
            "two outputs would be a.png; give each a name of its own",
        ),
        (["--digits"], "--digits are written into pictures; add --sheet, or leave it out"),
        (
            ["--steps", "2000000"],
            "2000000 ACT steps are asked for; this model takes 1 to 1,048,576",
        ),
        (["--steps", "0"], "0 is not in the range x>=1"),
        (["--budget", "0"], "0 is not in the range x>=1"),
        (
            ["--budget", "19"],
            "19 ACT steps are too few for 20 puzzles to share; give --budget 20 at least, "
            "or choose a smaller --batch-size",
        ),
        (
            ["--budget", "40", "--halt", "fixed"],
            "--budget shares the ACT steps of puzzles that halt early; with --halt fixed there are "
            "none, use --halt q",
        ),
        (["--budget", "40", "--halt", "both"], "with --halt both there are none, use --halt q"),
        (
            ["--budget", "40", "--votes", "2"],
            "--budget is shared by puzzles that are answered once; leave out --votes",
        ),
        (["--budget", "40", "--noise", "0.1", "--rollouts", "2"], "leave out --rollouts"),
        (["--budget", "40", "--stateful"], "--stateful measures one model as it generates"),
    ],
)
def test_what_eval_cannot_do_is_refused_before_the_work(
    refusal: Refusal, tiny_run: Path, options: list[str], message: str
) -> None:
    assert message in refusal("eval", tiny_run, *options)


def test_data_of_another_task_with_the_same_sizes_is_not_measured_on(
    refusal: Refusal, hrm: Hrm, tiny_run: Path, tmp_path: Path
) -> None:
    """Two special tokens and four characters on 4x4 cells, as a Sudoku has."""
    pairs = [
        {
            "input": f"ab..|{'c' * 4}|dddd|{number:04b}".replace("0", "a").replace("1", "b"),
            "output": "abc.|cccc|dddd|aaaa",
        }
        for number in range(16)
    ]
    text = "\n".join(
        json.dumps({key: value.replace(".", "d").replace("|", "\n") for key, value in pair.items()})
        for pair in pairs
    )
    (tmp_path / "g.jsonl").write_text(text)
    assert hrm("data", "grids", tmp_path / "grids", tmp_path / "g.jsonl").status == 0
    assert "is of grids" in (found := refusal("eval", tiny_run, "--data", tmp_path / "grids"))
    assert found.endswith("of sudoku; use data of its task")


def test_files_are_written_for_a_reader_who_leaves(tiny_run: Path, tmp_path: Path) -> None:
    outputs = tmp_path / "p.npz", tmp_path / "s.png", tmp_path / "g.gif", tmp_path / "g.png"
    for arguments in (
        ["eval", tiny_run, "--save-predictions", outputs[0], "--sheet", outputs[1]],
        ["solve", tiny_run, PUZZLE, "--gif", outputs[2], "--png", outputs[3]],
    ):
        process = subprocess.Popen(
            [sys.executable, "-m", "hrm_cli.main", *map(str, arguments)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        assert process.stdout is not None
        process.stdout.close()
        process.wait(timeout=60)
        assert process.stderr is not None
        process.stderr.close()
    assert all(path.is_file() for path in outputs)


def test_numbers_are_shown_though_a_file_cannot_be_written(
    hrm: Hrm, tiny_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*arguments: Any) -> None:
        raise HRMError("cannot write p.npz: No space left on device")

    monkeypatch.setattr("hrm_core.inference.evaluation.save_predictions", full)
    outcome = hrm(
        "eval", tiny_run, "--save-predictions", tmp_path / "p.npz", "--sheet", tmp_path / "s.png"
    )
    assert (outcome.status, outcome.err) == (
        2,
        "hrm: cannot write p.npz: No space left on device\n",
    )
    assert "95 % interval" in outcome.out
    assert (tmp_path / "s.png").is_file()


@pytest.mark.parametrize("leaves", [BrokenPipeError, SystemExit])
def test_file_that_cannot_be_written_is_told_to_a_reader_who_leaves(
    leaves: type[BaseException],
) -> None:
    def full() -> None:
        raise HRMError("no space")

    def unread() -> None:
        raise leaves

    with pytest.raises(HRMError, match="no space"):
        write_then_show([full], unread)
    with pytest.raises(leaves):
        write_then_show([], unread)


def test_data_that_has_changed_since_the_run_is_not_measured_on(
    refusal: Refusal, hrm: Hrm, tiny_run: Path, tmp_path: Path
) -> None:
    run = shutil.copytree(tiny_run, tmp_path / "run")
    config = yaml.safe_load((run / "config.yaml").read_text())
    data = shutil.copytree(config["data"]["path"], tmp_path / "data")
    (run / "config.yaml").write_text(
        yaml.safe_dump({**config, "data": {**config["data"], "path": str(data)}})
    )
    assert hrm("eval", run).status == 0
    shutil.rmtree(data / "test")
    shutil.copytree(data / "train", data / "test")  # a model looks best on what it was trained with
    assert "has changed since" in refusal("eval", run)


def test_votes_rollouts_and_models_multiply(hrm: Hrm, tiny_run: Path) -> None:
    outcome = hrm(
        "eval",
        tiny_run,
        tiny_run,
        "--votes",
        2,
        "--noise",
        0.1,
        "--rollouts",
        3,
        "--choose",
        "rules",
        "--json",
    )
    found = json.loads(outcome.out)
    assert len(found["each"]) == 12
    assert found["halt"]["fixed"]["module_calls"] == 12 * 2 * found["module_calls"] / found["steps"]
    assert found["oracle"] >= found["exact_accuracy"]


def test_eval_shows_both_ways_to_halt_unless_a_file_holds_one(
    hrm: Hrm, tiny_run: Path, tmp_path: Path
) -> None:
    assert list(json.loads(hrm("eval", tiny_run, "--json").out)["halt"]) == ["fixed", "q"]
    written = json.loads(hrm("eval", tiny_run, "--sheet", tmp_path / "sheet.png", "--json").out)
    assert list(written["halt"]) == ["fixed"]


def test_eval_asks_until_the_rules_accept_an_answer(hrm: Hrm, tiny_run: Path) -> None:
    asked = ("eval", tiny_run, "--votes", 3, "--halt", "q")
    found = json.loads(hrm(*asked, "--json").out)
    every = json.loads(hrm(*asked, "--choose", "rules", "--json").out)
    assert found["exact_accuracy"] == every["exact_accuracy"]
    assert found["first"] == every["each"][0]
    assert 1 <= found["asked"] <= 3
    assert "each" not in found
    shown = " ".join(hrm(*asked).out.split())
    assert "the first of 3 answers that the rules accept" in shown
    assert f"answers asked for, on average {found['asked']:.2f}" in shown


@pytest.mark.parametrize("halt", ["fixed", "q"])
def test_eval_takes_as_many_steps_as_it_is_told_and_says_so(
    hrm: Hrm, tiny_run: Path, halt: str
) -> None:
    trained = json.loads(hrm("eval", tiny_run, "--halt", halt, "--json").out)
    options = ("--halt", halt, "--steps", 5)
    found = json.loads(hrm("eval", tiny_run, *options, "--json").out)
    assert "max_steps" not in trained
    assert found["max_steps"] == 5
    assert trained["steps"] == max(map(int, trained["step_counts"])) == 2
    assert max(map(int, found["step_counts"])) == 5
    assert found["steps"] == 5 if halt == "fixed" else 2 < found["steps"] <= 5
    assert found["module_calls"] == found["steps"] * trained["module_calls"] / 2
    drawn = hrm("eval", tiny_run, *options)
    assert f"halting {halt}, at most 5 ACT steps, one answer" in " ".join(drawn.out.split())


def test_eval_shares_a_budget_of_steps_and_says_so(tiny_run: Path, tmp_path: Path) -> None:
    """In a process of its own. The tiny model halts few puzzles early, so most think on."""
    command = [sys.executable, "-m", "hrm_cli", "eval", tiny_run, "--batch-size", "8"]
    command += ["--budget", "20"]
    done = subprocess.run([*command, "--json"], capture_output=True, text=True, check=True)
    found = json.loads(done.stdout)
    assert (found["budget"], list(found["halt"])) == (20, ["q"])
    total = sum(int(steps) * count for steps, count in found["step_counts"].items())
    assert total == 20 + 20 + 10  # batches of 8, 8 and 4 puzzles
    assert max(map(int, found["step_counts"])) > 2  # halt_max_steps
    drawn = subprocess.run(command, capture_output=True, text=True, check=True)
    assert "halting q, at most 20 ACT steps for each batch, one answer" in " ".join(
        drawn.stdout.split()
    )


def test_demo_refuses_other_settings_than_its_run_has(
    refusal: Refusal, hrm: Hrm, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hrm_cli.demo.NUM_TEST", 20)
    assert hrm("demo", "--run", tmp_path / "demo", "--max-updates", 2).status == 0
    assert "holds a demo with other settings (--seed 0 --max-updates 2)" in refusal(
        "demo", "--run", tmp_path / "demo", "--seed", 9
    )


def test_stopped_run_says_with_which_options_to_go_on() -> None:
    assert (
        BackendMaker("torch", dtype="bfloat16", micro_batch=32).arguments
        == " --backend torch --dtype bfloat16 --micro-batch 32"
    )


def test_slow_blas_is_warned_of(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hrm_mlx.BLAS", blas.REFERENCE)
    with pytest.warns(UserWarning, match="only MLX's own slow BLAS"):
        devices.choose_device("cpu")


def test_solve_reads_strings_files_and_stdin(hrm: Hrm, tiny_run: Path, tmp_path: Path) -> None:
    file = tmp_path / "puzzles.txt"
    file.write_text(f"{PUZZLE}\n{PUZZLE.replace('.', '0')}\n")
    outcome = hrm("solve", tiny_run, PUZZLE, file, "-", "--json", stdin=PUZZLE.replace(" ", "\n"))
    answers = [json.loads(line) for line in outcome.out.splitlines()]
    assert [answer["question"] for answer in answers] == [PUZZLE.replace(" ", "")] * 4
    assert len({answer["answer"] for answer in answers}) == 1
    assert outcome.status == (0 if answers[0]["accepted"] else 1)
    drawn = hrm("solve", tiny_run, PUZZLE)
    assert drawn.out.splitlines()[0] == "+-----+-----+"
    assert f"settled after ACT step {answers[0]['settled_step']} of " in drawn.out


def test_exit_status_of_solve_says_whether_the_rules_accept(
    hrm: Hrm, tiny_run: Path, tiny_data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    question, label = (
        getattr(load_split(tiny_data, "test").sets["all"], name)[0] for name in ("inputs", "labels")
    )
    text = Sudoku(4).line(np.asarray(question))
    assert hrm("solve", tiny_run, text).status in (0, 1)
    monkeypatch.setattr(
        "hrm_core.inference.solution.Solution.answer", property(lambda _: np.asarray(label))
    )
    assert "accepted by the rules" in (right := hrm("solve", tiny_run, text)).out
    monkeypatch.setattr(
        "hrm_core.inference.solution.Solution.answer", property(lambda _: np.asarray(question))
    )
    assert "NOT a solution" in (wrong := hrm("solve", tiny_run, text)).out
    assert (right.status, wrong.status) == (0, 1)


def test_solve_takes_as_many_steps_as_it_is_told(
    hrm: Hrm, refusal: Refusal, tiny_run: Path, tmp_path: Path
) -> None:
    gif = tmp_path / "thinking.gif"
    outcome = hrm("solve", tiny_run, PUZZLE, "--steps", 5, "--json", "--gif", gif)
    found = json.loads(outcome.out)
    assert (found["max_steps"], found["steps"], len(found["q_halt"])) == (5, 5, 5)
    assert gif.is_file()
    solver = hrm_mlx.load(tiny_run)
    (solution,) = solver.solve(PUZZLE, steps=5)
    (shorter,) = solver.solve(PUZZLE)
    assert (len(solution.frames()), len(shorter.frames())) == (6, 3)  # the question, then steps
    np.testing.assert_array_equal(solution.answers[:2], shorter.answers)
    assert "max_steps" not in json.loads(hrm("solve", tiny_run, PUZZLE, "--json").out)
    message = refusal("solve", tiny_run, PUZZLE, "--steps", 2**21)
    assert message == "2097152 ACT steps are asked for; this model takes 1 to 1,048,576"
    with pytest.raises(ConfigError, match=r"^0 ACT steps are asked for"):
        solver.solve(PUZZLE, steps=0)


def test_solve_draws(hrm: Hrm, tiny_run: Path, tmp_path: Path) -> None:
    hrm("solve", tiny_run, PUZZLE, "--gif", tmp_path / "x.gif", "--png", tmp_path / "x.png")
    with Image.open(tmp_path / "x.gif") as gif, Image.open(tmp_path / "x.png") as png:
        assert 2 <= gif.n_frames <= 3  # frames alike in a row become one
        assert min(png.size) > 100


@pytest.mark.parametrize(
    ("puzzle", "message"),
    [
        ("." * 15, "15 cells; expected 16 in a line"),
        ("11" + "." * 14, "1 is given twice in row 1"),
        ("5" + "." * 15, "digit 5 at row 1, column 1; expected 1 to 4"),
        ("", "no puzzle found in 0 characters of text"),
        ("nope.txt", "'nope.txt' is no file, so it was read as a puzzle"),
        ("-", "stdin: puzzle 1 (line 1): unknown character 'x'"),
        (".", ". is a folder; expected a puzzle, or a file of puzzles"),
    ],
)
def test_bad_puzzle_is_refused(refusal: Refusal, tiny_run: Path, puzzle: str, message: str) -> None:
    assert message in refusal("solve", tiny_run, puzzle, stdin="x")


def test_train_plans_without_writing(
    hrm: Hrm, tiny_config: Path, tiny_data: Path, tmp_path: Path
) -> None:
    outcome = hrm("train", tiny_config, "--data", tiny_data, "--run", tmp_path / "run", "--dry-run")
    assert "24 updates of 16 slots, 384 examples" in outcome.out
    assert "with 16 slots in the network at once" in outcome.out
    assert re.search(
        r"\n[\d.]+ .iB of memory are free here: all 16 slots fit at once\n", outcome.out
    )
    micro = hrm(
        "train",
        tiny_config,
        "--data",
        tiny_data,
        "--run",
        tmp_path / "run",
        "--dry-run",
        "--set",
        "train.micro_batch_size=4",
    )
    assert "with 4 slots in the network at once" in micro.out
    assert not list(tmp_path.iterdir())


def test_run_keeps_its_micro_batches(
    hrm: Hrm,
    tiny_config: Path,
    tiny_data: Path,
    tiny_run: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """In updates and evaluations, until --micro-batch says otherwise; they change rounding only."""
    evaluated: list[int] = []
    begin = MLXBackend.begin
    monkeypatch.setattr(
        MLXBackend,
        "begin",
        lambda self, batch: (evaluated.append(len(batch.inputs)), begin(self, batch))[1],
    )
    run, resume = tmp_path / "run", ["--resume", "--device", "cpu"]
    begun = hrm(
        "train",
        tiny_config,
        "--data",
        tiny_data,
        "--run",
        run,
        "--device",
        "cpu",
        "--micro-batch",
        5,
        "--set",
        "train.keep_checkpoints=9",
    )
    assert begun.status == 0, begun.err
    config = yaml.safe_load((run / "config.yaml").read_text())
    assert (config["train"]["micro_batch_size"], config["environment"]["micro_batch"]) == (5, "5")
    assert max(evaluated) == 5
    ours, theirs = (
        json.loads((path / "log.jsonl").read_text().splitlines()[0]) for path in (run, tiny_run)
    )
    assert ours["lm_loss"] == pytest.approx(theirs["lm_loss"], rel=1e-5)
    shutil.rmtree(run / "checkpoints" / "update_00000024")
    assert "warning" not in hrm("train", "--run", run, *resume).err
    shutil.rmtree(run / "checkpoints" / "update_00000024")
    assert "micro_batch was 5, is 4" in hrm("train", "--run", run, *resume, "--micro-batch", 4).err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--set", "optim.rate=1"], "unknown key optim.rate (known: lr,"),
        (
            ["--set", "train.global_batch_size=4096"],
            "do not fill one batch of 4096; raise train.epochs or lower train.global_batch_size",
        ),
        (["--set", "model.vocab_size=11"], "model.vocab_size=11 but the data has vocab_size=6"),
        (["--init", "nope"], "nope does not exist (in "),
        (["--tensorboard"], "--tensorboard needs tensorboardX; pip install 'tensorboardX>=2.6'"),
        (["--wandb"], "--wandb needs wandb; pip install "),
        (["--device", "tpu"], "'tpu' is not one of 'auto', 'gpu', 'cpu'"),
        (["--resume"], "--resume continues a run with its own settings"),
    ],
)
def test_bad_training_is_refused_and_leaves_nothing(
    refusal: Refusal,
    tiny_config: Path,
    tiny_data: Path,
    tmp_path: Path,
    arguments: list[str],
    message: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for package in ("tensorboardX", "wandb"):
        monkeypatch.setitem(sys.modules, package, None)  # as if it were not installed
    assert message in refusal(
        "train", tiny_config, "--data", tiny_data, "--run", tmp_path / "run", *arguments
    )
    assert not list(tmp_path.iterdir())


def test_run_is_not_begun_twice(
    refusal: Refusal, tiny_config: Path, tiny_data: Path, tiny_run: Path, tmp_path: Path
) -> None:
    assert "holds a run already; continue it with --resume" in refusal(
        "train", tiny_config, "--data", tiny_data, "--run", tiny_run
    )
    assert "nope does not exist; expected a run" in refusal(
        "train", "--run", tmp_path / "nope", "--resume"
    )
    assert "name a preset or a config file" in refusal(
        "train", "--data", tiny_data, "--run", tmp_path / "nope"
    )
    assert "name a data set with --data" in refusal(
        "train", tiny_config, "--run", tmp_path / "nope"
    )
    assert "cannot be used as a run directory" in refusal(
        "train", tiny_config, "--data", tiny_data, "--run", tiny_config / "x"
    )


def test_init_of_another_size_is_refused(
    refusal: Refusal, tiny_config: Path, tiny_data: Path, tiny_run: Path, tmp_path: Path
) -> None:
    arguments = [
        "train",
        tiny_config,
        "--data",
        tiny_data,
        "--run",
        tmp_path / "run",
        "--init",
        tiny_run,
    ]
    assert "H_init is float32[32], expected float32[64]" in refusal(
        *arguments, "--set", "model.hidden_size=64"
    )
    assert not list(tmp_path.iterdir())


def test_doctor_knows_this_machine_and_the_papers_model(hrm: Hrm, refusal: Refusal) -> None:
    facts = json.loads(hrm("doctor", "--json").out)
    assert {
        "hrm",
        "python",
        "memory",
        "mlx device",
        "mlx blas",
        "mlx attention",
        "tensorboardX",
    } <= facts.keys()
    assert "27,275,266 trainable parameters" in hrm("doctor", "--preset", "sudoku-extreme-1k").out
    assert (
        json.loads(hrm("doctor", "--preset", "sudoku-4x4", "--json").out)["trainable_parameters"]
        == 132_994
    )
    assert "nope is neither a file nor a preset" in refusal("doctor", "--preset", "nope")


def test_doctor_needs_the_sizes_of_the_data(refusal: Refusal, tiny_config: Path) -> None:
    message = refusal("doctor", "--preset", tiny_config)
    assert (
        "leaves sizes to the data, state them under model to count: vocab_size is missing"
        in message
    )


def test_doctor_tells_stated_sizes_that_do_not_fit(refusal: Refusal, tmp_path: Path) -> None:
    preset = load_config("sudoku-4x4").model_dump(mode="json", exclude_none=True)
    preset["model"] |= {"image_size": [8, 9], "patch_size": 4}
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump(preset))
    assert refusal("doctor", "--preset", tmp_path / "mine.yaml").startswith(
        f"{tmp_path / 'mine.yaml'}: model: image_size=[8, 9] in 1 strips cannot be cut"
    )


def test_plot_draws_runs(hrm: Hrm, refusal: Refusal, tiny_run: Path, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    assert hrm("plot", tiny_run, "--out", tmp_path / "c.png").out == f"{tmp_path / 'c.png'}\n"
    assert (tmp_path / "c.png").stat().st_size > 10_000
    assert "cannot read" in refusal("plot", tmp_path / "nope")


def test_demo_goes_the_whole_way_and_then_only_shows(
    hrm: Hrm, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hrm_cli.demo.NUM_TEST", 50)
    run = tmp_path / "demo"
    first = hrm("demo", "--run", run, "--max-updates", 20)
    assert first.status == 0, first.err
    for words in (
        "settled after step ",
        "NOT a solution, ",  # 20 updates are not enough
        " cells in conflict:",
        "solved exactly",
        "only 288 solutions",
        f"GIF    {run / 'thinking.gif'}",
        "curve  ",
    ):
        assert words in first.out
    assert (run / "thinking.gif").exists()
    log = (run / "log.jsonl").read_text()
    second = hrm("demo", "--run", run)
    assert (second.status, second.err, second.out) == (0, "", first.out)
    assert (run / "log.jsonl").read_text() == log


def test_published_puzzles_are_solved_from_their_strings(
    hrm: Hrm, data_dir: Path, tmp_path: Path
) -> None:
    data, source = tmp_path / "data", data_dir / "sudoku" / "test.csv"
    assert (
        hrm(
            "data",
            "sudoku",
            data,
            "--train-csv",
            source.with_name("train.csv"),
            "--test-csv",
            source,
        ).status
        == 0
    )
    settings = [
        "--set",
        "train.eval_examples=8",
        "--set",
        "train.global_batch_size=8",
        "--max-updates",
        2,
    ]
    assert (
        hrm("train", "sudoku-9x9", "--data", data, "--run", tmp_path / "run", *settings).status == 0
    )
    with source.open() as file:
        question = next(csv.DictReader(file))["question"]
    outcome = hrm("solve", tmp_path / "run", question)
    assert outcome.status == 1  # two updates are not enough
    assert "NOT a solution; settled after ACT step" in outcome.out


def test_a_word_that_is_no_command_is_answered_with_the_nearest(refusal: Refusal) -> None:
    assert refusal("solv") == "no such command: 'solv'; did you mean solve; hrm --help lists them"
    assert refusal("xyz") == "no such command: 'xyz'; hrm --help lists them"
    assert refusal("solve").endswith("; hrm solve --help shows what belongs there")
    assert "did you mean sudoku-4x4; " in refusal("train", "sudoku-4x", "--run", "r", "--data", "d")


def test_words_of_one_puzzle_are_answered_with_quotes(refusal: Refusal, tiny_run: Path) -> None:
    words = ["1...", "..2.", ".3..", "...4"]
    assert refusal("solve", tiny_run, *words) == (
        "these words are one puzzle together; put quotes around it"
    )


def test_data_that_fill_no_batch_are_refused_before_a_run_is_made(
    refusal: Refusal, tiny_data: Path, tmp_path: Path
) -> None:
    settings = ("--batch-size", 4096, "--set", "train.eval_interval=1", "--set", "train.epochs=200")
    message = refusal(
        "train", "sudoku-4x4", "--data", tiny_data, "--run", tmp_path / "run", *settings
    )
    assert "cannot fill one batch of 4096 in 1 epochs; lower it with --batch-size" in message
    assert not (tmp_path / "run" / "config.yaml").exists()
