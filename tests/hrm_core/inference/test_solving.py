"""Asking under the right puzzle identifier, on a backend that knows what each of them means."""

import json
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np
import pytest

from hrm_core.backend import Batch, Replica
from hrm_core.config import ModelConfig
from hrm_core.errors import PuzzleError
from hrm_core.inference.reading import read_puzzles, read_text
from hrm_core.inference.solution import Solution
from hrm_core.inference.solving import Solver
from hrm_core.runs.identifiers import Identifiers
from hrm_core.tasks.cells import CellMeasures
from hrm_core.tasks.contract import Task, TokenArray
from hrm_tasks.arc.augment import augmented, parse_names, undone
from hrm_tasks.arc.canvas import decode, encode
from hrm_tasks.arc.task import Arc
from hrm_tasks.grids.task import Grids

Rule = Callable[[TokenArray], TokenArray]

SIDE = 6
NAMES = [
    "<blank>",
    "turn_t6_0213456789",
    "turn",
    "turn_t1_0987654321",
    "drop",
    "drop_t3_0123456798",
    "turned",
]
RULES: Mapping[str, Rule] = {
    "turn": np.rot90,
    "drop": lambda grid: grid[:1],
    "turned": np.flipud,
    "<blank>": lambda grid: grid,
}
GRID = np.array([[1, 2, 3], [4, 5, 6]], np.uint8)
STEPS = 3


class Said(NamedTuple):
    tokens: np.ndarray
    q_halt_logits: np.ndarray
    q_continue_logits: np.ndarray


class Knowing:
    """Answers each question as the task of its identifier wants it, augmented as its name says, from step 2 on."""

    replica = Replica()
    is_compiled = False

    def __init__(self, names: list[str] = NAMES, task: Task | None = None) -> None:
        task = task or Arc(SIDE)
        self.names = names
        self.asked: list[str] = []
        self.config = ModelConfig(
            vocab_size=task.vocab_size,
            seq_len=task.seq_len,
            num_puzzle_identifiers=len(names),
            puzzle_emb_ndim=0,
            H_layers=1,
            L_layers=1,
            hidden_size=4,
            num_heads=2,
            halt_max_steps=STEPS,
            loss_type="softmax_cross_entropy",
        )

    def begin(self, batch: Batch) -> list[Any]:
        self.asked += [self.names[number] for number in batch.puzzle_identifiers.tolist()]
        return [
            (0, number, row)
            for number, row in zip(batch.puzzle_identifiers.tolist(), batch.inputs, strict=True)
        ]

    def step(self, carry: list[Any]) -> tuple[list[Any], Said]:
        tokens = np.stack(
            [self.answer(self.names[number], row) if step else row for step, number, row in carry]
        )
        sure = np.array([float(number) - 9 for _, number, _ in carry])
        return [(step + 1, number, row) for step, number, row in carry], Said(
            tokens, sure, np.zeros(len(carry))
        )

    def answer(self, name: str, row: np.ndarray) -> np.ndarray:
        (task,), augmentations = parse_names([name])
        original = decode(undone(row[None], augmentations)[0])
        answer = augmented(
            RULES[task](original), int(augmentations.symmetries[0]), augmentations.colours[0]
        )
        return encode([answer], SIDE)[0]

    def take(self, carry: list[Any], slots: np.ndarray) -> list[Any]:
        return [carry[slot] for slot in slots]


class Misguided(Knowing):
    """Answers as if the augmentations were others."""

    def answer(self, name: str, row: np.ndarray) -> np.ndarray:
        return super().answer(name.replace("_t3_", "_t4_"), row)


KINDS = (Knowing, Misguided)


def solver(backend: Any = None, names: list[str] = NAMES) -> Solver:
    return Solver(backend or Knowing(), Arc(SIDE), Identifiers("runs/arc", len(names), names))


def task_json(rule: Rule, known: bool = True, grids: tuple[TokenArray, ...] = (GRID,)) -> str:
    pair = {"input": GRID.tolist(), "output": rule(GRID).tolist()}
    tests = [
        {"input": grid.tolist(), **({"output": rule(grid).tolist()} if known else {})}
        for grid in grids
    ]
    return json.dumps({"train": [pair], "test": tests})


def attempts(solution: Solution) -> list[tuple[Any, int]]:
    return [(decode(attempt.answer).tolist(), attempt.count) for attempt in solution.attempts]


def test_task_is_asked_under_all_its_augmentations_and_each_answer_is_turned_back() -> None:
    backend = Knowing()
    (solution,) = solver(backend).solve(task_json(np.rot90), identifier="turn")
    assert sorted(backend.asked) == sorted(NAMES[1:4])
    assert (solution.identifier, solution.num_identifiers) == ("turn", 3)
    assert attempts(solution) == [(np.rot90(GRID).tolist(), 3)]
    assert (solution.accepted, solution.verdict) == (True, "attempt 1 is right")
    assert decode(solution.answer).tolist() == np.rot90(GRID).tolist()


def test_answers_that_are_not_turned_back_do_not_agree() -> None:
    """The control: with other augmentations than the names say, the votes fall apart."""
    counts = {
        kind: [
            count
            for _, count in attempts(
                solver(kind()).solve(task_json(np.rot90), identifier="drop")[0]
            )
        ]
        for kind in KINDS
    }
    assert counts == {Knowing: [2], Misguided: [1, 1]}


def test_answers_differ_by_the_identifier_that_is_named() -> None:
    found = {
        name: solver().solve(task_json(np.rot90), identifier=name)[0]
        for name in ("turn", "drop", "turned", "blank")
    }
    assert {name: attempts(solution)[0] for name, solution in found.items()} == {
        "turn": (np.rot90(GRID).tolist(), 3),
        "drop": (GRID[:1].tolist(), 2),
        "turned": (GRID[::-1].tolist(), 1),
        "blank": (GRID.tolist(), 1),
    }
    assert {name: solution.accepted for name, solution in found.items()} == {
        "turn": True,
        "drop": False,
        "turned": False,
        "blank": False,
    }
    assert {name: solution.identifier for name, solution in found.items()} == {
        name: name for name in found
    }


def test_votes_ask_the_task_itself_first() -> None:
    backend = Knowing()
    assert (
        solver(backend).solve(task_json(np.rot90), identifier="turn", votes=1)[0].num_identifiers
        == 1
    )
    assert backend.asked == ["turn"]


def test_one_augmentation_can_be_named() -> None:
    backend = Knowing()
    (solution,) = solver(backend).solve(task_json(np.rot90), identifier=NAMES[3])
    assert backend.asked == [NAMES[3]]
    assert attempts(solution) == [(np.rot90(GRID).tolist(), 1)]


def test_every_test_input_gets_its_own_attempts() -> None:
    others = (GRID, GRID[:, :1], GRID.T)
    solutions = solver().solve(task_json(np.rot90, grids=others), identifier="turn")
    assert [attempts(solution) for solution in solutions] == [
        [(np.rot90(grid).tolist(), 3)] for grid in others
    ]
    assert [decode(solution.question).tolist() for solution in solutions] == [
        grid.tolist() for grid in others
    ]


def test_known_outputs_take_no_part_in_the_choice() -> None:
    told, untold = (
        solver().solve(task_json(rule, known), identifier="drop")[0]
        for rule, known in ((np.rot90, True), (np.rot90, False))
    )
    assert attempts(told) == attempts(untold)
    assert (told.accepted, told.verdict) == (False, "no attempt is right")
    assert (untold.accepted, untold.verdict) == (None, "only the solution can tell")


def test_second_attempt_may_be_the_right_one() -> None:
    class Doubting(Knowing):
        def answer(self, name: str, row: np.ndarray) -> np.ndarray:
            return super().answer(name.replace("turn", "turned") if "_t" in name else name, row)

    (solution,) = solver(Doubting()).solve(task_json(np.rot90), identifier="turn")
    assert attempts(solution) == [(GRID[::-1].tolist(), 2), (np.rot90(GRID).tolist(), 1)]
    assert (solution.accepted, solution.verdict) == (True, "attempt 2 is right")
    assert decode(solution.answer).tolist() == GRID[::-1].tolist()


def test_the_path_that_is_shown_is_that_of_the_surest_vote_turned_back() -> None:
    (solution,) = solver().solve(task_json(np.rot90), identifier="turn", halt="fixed")
    assert [decode(tokens).tolist() for tokens in solution.answers] == [
        GRID.tolist(),
        *[np.rot90(GRID).tolist()] * (STEPS - 1),
    ]
    assert solution.q_halt_logits.tolist() == [NAMES.index("turn_t1_0987654321") - 9.0] * STEPS
    assert solution.settled_step == 2
    assert len(solution.frames()) >= 2


def test_answers_without_any_grid_are_no_attempt() -> None:
    class Silent(Knowing):
        def answer(self, name: str, row: np.ndarray) -> np.ndarray:
            return np.zeros_like(row)

    (solution,) = solver(Silent()).solve(task_json(np.rot90), identifier="turn")
    assert (attempts(solution), str(solution), solution.accepted) == ([], "(no grid)", False)


def test_several_puzzles_of_several_names_are_asked_at_once() -> None:
    backend = Knowing()
    puzzles = [
        *read_text(Arc(SIDE), task_json(np.rot90), "turn"),
        *read_text(Arc(SIDE), task_json(RULES["drop"]), "drop"),
    ]
    assert [solution.verdict for solution in solver(backend).solve_puzzles(puzzles)] == [
        "attempt 1 is right"
    ] * 2
    assert len(backend.asked) == 5


@pytest.mark.parametrize(
    ("identifier", "names", "message"),
    [
        (
            "",
            NAMES,
            r"runs/arc was trained on 3 puzzles \(turn, drop, turned\), and which of them is asked is not said; name it with",
        ),
        (
            "tur",
            NAMES,
            r"tur was never trained by runs/arc, .*--identifier blank, or train it: hrm data arc DATA --add evaluation/tur\.json",
        ),
        (
            "turn",
            [],
            "runs/arc does not say what its 7 puzzle identifiers are called, .*; name that with --data, or ask under the blank one",
        ),
        ("", [], "runs/arc was trained on 6 puzzles, and which"),
    ],
)
def test_what_cannot_be_asked_says_why(identifier: str, names: list[str], message: str) -> None:
    asked = Solver(Knowing(), Arc(SIDE), Identifiers("runs/arc", len(NAMES), names))  # type: ignore[arg-type]
    with pytest.raises(PuzzleError, match=message):
        asked.solve(task_json(np.rot90), identifier=identifier)


def test_blank_needs_no_names() -> None:
    asked = Solver(Knowing(), Arc(SIDE), Identifiers("runs/arc", len(NAMES), ()))  # type: ignore[arg-type]
    assert attempts(asked.solve(task_json(np.rot90), identifier="blank")[0]) == [(GRID.tolist(), 1)]


def test_puzzle_that_is_called_blank_is_asked_by_its_name() -> None:
    backend = Knowing(["<blank>", "blank"], task := Grids("ab", 2, 2))
    backend.answer = lambda name, row: row  # type: ignore[method-assign]
    named = Solver(backend, task, Identifiers("m", 2, backend.names))  # type: ignore[arg-type]
    assert [
        named.solve("ab/ba", identifier=name)[0].identifier for name in ("blank", "<blank>")
    ] == ["blank", "blank"]
    assert backend.asked == ["blank", "<blank>"]


def test_grids_are_asked_under_one_identifier_as_they_are() -> None:
    backend = Knowing(["<blank>", "mirror", "mirror_t4"], task := Grids("ab", 2, 2))
    backend.answer = lambda name, row: row if name == "mirror" else row[::-1]  # type: ignore[method-assign]
    named = Solver(backend, task, Identifiers("m", 3, backend.names))  # type: ignore[arg-type]
    (solution,) = named.solve("ab/bb", identifier="mirror")
    assert (str(solution), backend.asked, solution.num_identifiers) == ("ab\nbb", ["mirror"], 1)
    with pytest.raises(
        PuzzleError,
        match=r"mirrr was never trained by m, .*known are 2 puzzles \(mirror, mirror_t4\)",
    ):
        named.solve("ab/bb", identifier="mirrr")


def test_only_models_of_several_identifiers_have_names_to_give() -> None:
    backend = Knowing(["<blank>"], task := Grids("ab", 2, 2))
    backend.answer = lambda name, row: row  # type: ignore[method-assign]
    lone = Solver(backend, task)  # type: ignore[arg-type]
    assert (
        lone.solve("ab/bb")[0].identifier
        == lone.solve("ab/bb", identifier="blank")[0].identifier
        == "blank"
    )
    with pytest.raises(
        PuzzleError,
        match="has one puzzle identifier for all puzzles, none is called x; leave out --identifier",
    ):
        lone.solve("ab/bb", identifier="x")


def test_file_of_a_task_names_it_and_tells_its_outputs(tmp_path: Any) -> None:
    (tmp_path / "turn.json").write_text("\ufeff" + task_json(np.rot90))
    (tmp_path / "drop.txt").write_text("1 2\n3 4\n")
    task = Arc(SIDE)
    named, grid, piped = read_puzzles(
        task,
        [str(tmp_path / "turn.json"), str(tmp_path / "drop.txt"), "-"],
        lambda: task_json(np.rot90),
    )
    assert (named.name, grid.name, piped.name) == ("turn", "", "")
    assert grid.solution is None
    for puzzle in (named, piped):
        assert puzzle.solution is not None
        assert decode(puzzle.solution).tolist() == np.rot90(GRID).tolist()


class Words(CellMeasures):
    """A task of 50,265 tokens."""

    name = "words"
    settings: Mapping[str, Any] = {}
    vocab_size = 50_265
    seq_len = 4


def test_tokens_of_a_large_vocabulary_are_not_wrapped() -> None:
    backend = Knowing(["<blank>"], Words())  # type: ignore[arg-type]
    backend.answer = lambda name, row: row[::-1]  # type: ignore[method-assign]
    question = np.array([[255, 256, 40_000, 50_264]], np.int32)
    (solution,) = Solver(backend, Words()).solve_tokens(question)  # type: ignore[arg-type]
    assert solution.question.tolist() == [255, 256, 40_000, 50_264]
    assert solution.answer.tolist() == [50_264, 40_000, 256, 255]
    assert (solution.accepted, solution.verdict) == (None, "only the solution can tell")


def test_task_without_a_capability_says_so() -> None:
    backend = Knowing(["<blank>"], Words())  # type: ignore[arg-type]
    backend.answer = lambda name, row: row  # type: ignore[method-assign]
    solver = Solver(backend, Words())  # type: ignore[arg-type]
    question = np.zeros((1, 4), np.int32)
    with pytest.raises(PuzzleError, match="words has no symmetries to vote with; leave out votes"):
        solver.solve_tokens(question, votes=2)
    with pytest.raises(PuzzleError, match="words has no questions that are written as text"):
        solver.solve("a b c d")
    with pytest.raises(PuzzleError, match="words has no pictures; leave them out"):
        solver.solve_tokens(question)[0].frames()
