"""Puzzles asked of a server: the same answers and refusals as those of the command line, step by step."""

import json
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hrm_core.inference.solving import Solver
from hrm_tasks.sudoku.task import Sudoku

for package in ("starlette", "uvicorn", "httpx2"):
    pytest.importorskip(package, reason=f"{package} is missing: the page is not tested")

Hrm = Callable[..., Any]
Refusal = Callable[..., str]

PUZZLE = "53..7....6..195....98....6.8...6...34..8.3..17...2...6.6....28....419..5....8..79"
HARD = ".4.......23.....6...521.4....7....4.....2...389...3....2.7...15.7.1.5.......3.7.9"
BAD = [
    PUZZLE[:-1],
    PUZZLE.replace("5", "x", 1),
    "5" + PUZZLE[1:-1] + "5\n" + PUZZLE[:80],
    "11" + PUZZLE[2:],
]
BAD += ["", f"{PUZZLE}\n{PUZZLE[:9]}"]


def test_solutions_are_those_of_the_command(page: Any, hrm: Hrm) -> None:
    text = f"{PUZZLE}\n{HARD}\n"
    shown = hrm("solve", "sudoku-9x9", "-", "--device", "cpu", "--json", stdin=text).out
    answer = page.post("/api/solve", puzzles=text)
    assert answer.json()["solutions"] == [json.loads(line) for line in shown.splitlines()]


def test_options_are_those_of_the_command(page: Any, hrm: Hrm) -> None:
    flags = ("--halt", "fixed", "--steps", "3", "--votes", "2")
    shown = hrm("solve", "sudoku-9x9", HARD, *flags, "--device", "cpu", "--json").out
    answer = page.post("/api/solve", puzzles=HARD, halt="fixed", steps=3, votes=2)
    assert answer.json()["solutions"] == [json.loads(shown)]


@pytest.mark.parametrize("text", BAD)
def test_a_bad_puzzle_is_refused_with_the_line_of_the_command(
    page: Any, refusal: Refusal, text: str
) -> None:
    line = refusal("solve", "sudoku-9x9", "-", "--device", "cpu", stdin=text)
    expected = line.removeprefix("stdin: ")
    assert page.refusal("/api/solve", puzzles=text) == expected
    assert page.refusal("/api/watch", puzzles=text) == expected
    answer = page.client.post("/api/read", content=text)
    assert (answer.status_code, answer.json()) == (400, {"error": expected})


def test_every_step_is_told_before_the_solution(page: Any, solver: Solver) -> None:
    (solution,) = solver.solve(HARD)
    events = page.events("/api/watch", puzzles=HARD)
    names = [name for name, _ in events if name != "thinking"]
    assert names == ["place", *["step"] * len(solution.answers), "done"]
    steps = [data for name, data in events if name == "step"]
    assert np.array_equal([step["tokens"] for step in steps], solution.answers)
    assert np.allclose([step["q"][0] for step in steps], solution.q_halt_logits, atol=1e-4)
    q_halt, q_continue = np.transpose([step["q"] for step in steps])
    assert (q_halt[:-1] <= q_continue[:-1]).all()
    assert len(steps) == 16 or q_halt[-1] > q_continue[-1]
    assert events[-1][1]["record"]["answer"] == Sudoku(9).line(solution.answer)


def test_changed_cells_and_conflicts_are_those_of_a_plain_count(page: Any) -> None:
    events = page.events("/api/watch", puzzles=HARD)
    steps = [data for name, data in events if name == "step"]
    before = [1 if sign == "." else int(sign) + 1 for sign in HARD]
    given = list(before)
    num_conflicts = []
    for step in steps:
        tokens = step["tokens"]
        assert step["changed"] == [cell for cell in range(81) if tokens[cell] != before[cell]]
        assert step["conflicts"] == [cell for cell in range(81) if clashes(tokens, given, cell)]
        assert step["accepted"] is (not step["conflicts"])  # every cell holds a digit
        num_conflicts.append(len(step["conflicts"]))
        before = tokens
    assert num_conflicts[0] > 0
    assert num_conflicts[-1] == 0


def clashes(tokens: list[int], given: list[int], cell: int) -> bool:
    row, column = divmod(cell, 9)
    for other in range(81):
        there, across = divmod(other, 9)
        sees = (
            there == row or across == column or (there // 3, across // 3) == (row // 3, column // 3)
        )
        if other != cell and sees and tokens[other] == tokens[cell]:
            return True
    return given[cell] > 1 and tokens[cell] != given[cell]


def test_symmetries_give_the_path_of_the_chosen_answer(page: Any, solver: Solver) -> None:
    (solution,) = solver.solve(HARD, votes=3, steps=4)  # too few to solve it
    events = page.events("/api/watch", puzzles=HARD, votes=3, steps=4)
    done = events[-1][1]
    assert done["record"]["num_answers"] == 3
    assert np.array_equal([step["tokens"] for step in done["steps"]], solution.answers)
    forms = [data["form"] for name, data in events if name == "thinking"]
    assert forms == [0] * 4 + [1] * 4 + [2] * 4


def test_more_steps_go_on_from_the_same_ones(page: Any) -> None:
    few = page.events("/api/watch", puzzles=HARD, halt="fixed", steps=2)[-1][1]["steps"]
    more = page.events("/api/watch", puzzles=HARD, halt="fixed", steps=5)[-1][1]["steps"]
    assert (len(few), len(more)) == (2, 5)
    assert more[:2] == few


def test_one_of_several_puzzles_is_chosen(page: Any) -> None:
    events = page.events("/api/watch", puzzles=f"{PUZZLE}\n{HARD}", only=1)
    assert events[-1][1]["record"]["question"] == HARD
    assert "only=2" in page.refusal("/api/watch", puzzles=f"{PUZZLE}\n{HARD}", only=2)
    assert "2 puzzles" in page.refusal("/api/watch", puzzles=f"{PUZZLE}\n{HARD}")


def test_too_many_puzzles_at_once_are_refused(page: Any) -> None:
    line = page.refusal("/api/solve", puzzles="\n".join([PUZZLE] * 40), votes=8)
    assert "40 puzzles are asked 8 times each" in line


def test_too_many_puzzles_of_a_text_and_names_of_no_file_are_refused(page: Any) -> None:
    for query, content, words in (
        ({}, "\n".join([PUZZLE] * 257), "257 puzzles; the page takes 256"),
        ({"name": ".."}, PUZZLE, "no file is called '..'"),
        ({"name": "a" * 300}, PUZZLE, "no file is called 'aaa"),
        ({"name": "a\0b"}, PUZZLE, "no file is called"),
    ):
        answer = page.client.post("/api/read", params=query, content=content)
        assert answer.status_code == 400
        assert words in answer.json()["error"]


def test_unknown_and_wrong_keys_are_named(page: Any) -> None:
    assert "unknown key puzles" in page.refusal("/api/solve", puzles=PUZZLE)
    assert "steps" in page.refusal("/api/solve", puzzles=PUZZLE, steps=0)
    assert "halt" in page.refusal("/api/solve", puzzles=PUZZLE, halt="now")
    for body in (b"{", b"[]", b"\xff", b'{"puzzles": "1", "puzzles": "2"}'):
        answer = page.client.post("/api/solve", content=body)
        assert answer.status_code == 400
        assert answer.json()["error"].startswith("the request")


def test_a_file_is_read_and_its_copy_removed(
    page: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    for name, content in (("two.txt", f"{PUZZLE}\n{HARD}"), ("../../bad.txt", "53..")):
        answer = page.client.post("/api/read", params={"name": name}, content=content)
        if answer.status_code == 200:
            read = [puzzle["tokens"] for puzzle in answer.json()["puzzles"]]
            assert np.array_equal(read, Sudoku(9).parse(content))
        else:
            assert answer.json()["error"].startswith("bad.txt: puzzle 1")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["", "old.ss"])
def test_text_of_another_program_is_read(page: Any, name: str) -> None:
    bands = [HARD[at : at + 27] for at in range(0, 81, 27)]
    rows = "\n---+---+---\n".join(f"{band[:9]}\n{band[9:18]}\n{band[18:]}" for band in bands)
    content = f"[Puzzle]\r\n{rows}\r\n[State]\r\n123"
    sent = content.encode("utf-16") if name else content
    answer = page.client.post("/api/read", params={"name": name} if name else {}, content=sent)
    assert [puzzle["tokens"] for puzzle in answer.json()["puzzles"]] == Sudoku(9).parse(
        HARD
    ).tolist()


def test_flaw_of_a_puzzle_is_in_the_record(page: Any) -> None:
    record = page.events("/api/watch", puzzles="." * 81)[-1][1]["record"]
    assert record["flaw"] == "the puzzle has several solutions"


def test_samples_are_the_same_for_the_same_number_and_of_the_band(page: Any) -> None:
    bands = page.client.get("/api/model").json()["samples"]["bands"]
    assert bands[:3] == ["0", "1-4", "5-19"]
    queries = [{"band": band, "number": number} for band, number in ((1, 5), (1, 5), (0, 5))]
    one, again, other = (page.client.get("/api/sample", params=each).json() for each in queries)
    assert one == again
    assert 1 <= one["rating"] <= 4
    assert other["rating"] == 0
    assert Sudoku(9).parse(one["text"]).tolist() == [one["tokens"]]


@pytest.mark.parametrize("query", [{"band": "99"}, {"band": "x"}, {"number": "-1"}])
def test_a_wrong_sample_is_refused(page: Any, query: dict[str, str]) -> None:
    answer = page.client.get("/api/sample", params=query)
    assert answer.status_code == 400
    assert "expected" in answer.json()["error"]


def test_a_solution_is_refused_where_rules_judge(page: Any) -> None:
    line = page.refusal("/api/watch", puzzles=PUZZLE, solution=PUZZLE)
    assert line == "a solution judges the attempts at a puzzle, and sudoku makes none"
