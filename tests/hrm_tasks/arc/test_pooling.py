import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from hrm_core.data.store import load_split
from hrm_core.data.writer import Examples, Layout, write_dataset
from hrm_core.errors import DataError
from hrm_core.tasks.contract import TokenArray
from hrm_tasks.arc.augment import augmented, colour_sums, draw_augmentations, parse_names
from hrm_tasks.arc.canvas import encode
from hrm_tasks.arc.pooling import (
    Question,
    Standing,
    Votes,
    asked_as,
    identifiers_of,
    pass_at,
    questions_of,
    ranks,
    solutions,
    standings,
    submission,
)
from hrm_tasks.arc.submission import score

RIGHT = np.array([[1, 2], [3, 4]], np.uint8)
WRONG = np.array([[9]], np.uint8)
ASKED = np.array([[5, 6, 7]], np.uint8)
NAMES = ["<blank>", "a", "a_t1_0987654321", "a_t6_0213456789", "b"]


def canvas(name: str, grid: TokenArray) -> TokenArray:
    """A grid as the puzzle of this name has it."""
    _, (symmetries, colours) = parse_names([name])
    return encode([augmented(grid, int(symmetries[0]), colours[0])])[0]


def votes_of(answers: Sequence[tuple[str, TokenArray, TokenArray, float]]) -> Votes:
    """Votes of (identifier's name, question, answer, q_halt logit)."""
    votes = Votes(NAMES)
    votes.add(
        np.array([NAMES.index(name) for name, *_ in answers]),
        np.stack([canvas(name, question) for name, question, *_ in answers]),
        np.stack([canvas(name, answer) for name, _, answer, _ in answers]),
        np.array([q for *_, q in answers], np.float32),
    )
    return votes


def grids(votes: Votes, task: str = "a", question: TokenArray = ASKED) -> list[list[list[int]]]:
    return [candidate.grid.tolist() for candidate in votes.ranked(task, question)]


def test_answers_of_all_augmentations_are_pooled() -> None:
    votes = votes_of(
        [
            ("a", ASKED, WRONG, 9.0),
            ("a_t1_0987654321", ASKED, RIGHT, -3.0),
            ("a_t6_0213456789", ASKED, RIGHT, 0.0),
        ]
    )
    assert grids(votes) == [RIGHT.tolist(), WRONG.tolist()]
    first, second = votes.ranked("a", ASKED)
    assert (first.count, second.count) == (2, 1)
    assert first.confidence == pytest.approx((1 / (1 + math.exp(3)) + 0.5) / 2)


@pytest.mark.parametrize("side", [3, 12])
def test_answers_on_a_smaller_canvas_are_pooled_as_on_the_published_one(side: int) -> None:
    full = np.arange(9, dtype=np.uint8).reshape(3, 3)  # no room for end markers on the smallest
    votes, names = Votes(NAMES), NAMES[1:4]
    votes.add(
        np.arange(1, 4), asked_as(full, names, side), asked_as(RIGHT, names, side), np.zeros(3)
    )
    votes.add(np.arange(1, 4), asked_as(full, names), asked_as(RIGHT, names), np.zeros(3))
    votes.add(
        np.arange(1, 3),
        asked_as(full, names[:2], side),
        asked_as(full, names[:2], side),
        np.zeros(2),
    )
    assert [
        (candidate.grid.tolist(), candidate.count) for candidate in votes.ranked("a", full)
    ] == [
        (RIGHT.tolist(), 6),
        (full.tolist(), 2),
    ]


def test_of_grids_given_as_often_the_surer_comes_first() -> None:
    votes = votes_of([("a", ASKED, WRONG, 0.1), ("a_t1_0987654321", ASKED, RIGHT, 0.2)])
    assert grids(votes) == [RIGHT.tolist(), WRONG.tolist()]


def test_of_equal_ones_the_first_stays_first() -> None:
    votes = votes_of([("a", ASKED, WRONG, 1.0), ("a_t1_0987654321", ASKED, RIGHT, 1.0)])
    assert grids(votes) == [WRONG.tolist(), RIGHT.tolist()]


def test_confidence_is_a_mean_and_not_a_sum_of_logits() -> None:
    """One answer surer than can be told does not outweigh two that are fairly sure."""
    surest = [
        ("a", ASKED, WRONG, 50.0),
        ("a", ASKED, WRONG, -2.0),
        ("a", ASKED, RIGHT, 1.0),
        ("a", ASKED, RIGHT, 1.0),
    ]
    assert grids(votes_of(surest))[0] == RIGHT.tolist()


def test_logits_of_any_size_are_confidences() -> None:
    votes = votes_of([("a", ASKED, WRONG, -1e30), ("a", ASKED, RIGHT, 1e30)])
    assert [candidate.confidence for candidate in votes.ranked("a", ASKED)] == [1.0, 0.0]


def test_tasks_and_questions_are_kept_apart_and_padding_is_passed_over() -> None:
    other = np.array([[8]], np.uint8)
    votes = votes_of(
        [
            ("a", ASKED, RIGHT, 0.0),
            ("a", other, WRONG, 0.0),
            ("b", ASKED, WRONG, 0.0),
            ("<blank>", ASKED, RIGHT, 0.0),
        ]
    )
    assert (grids(votes), grids(votes, "a", other), grids(votes, "b")) == (
        [RIGHT.tolist()],
        [WRONG.tolist()],
        [WRONG.tolist()],
    )
    assert votes.ranked("b", other) == votes.ranked("<blank>", ASKED) == []


def ranked_at(
    place: int, question: TokenArray = ASKED
) -> list[tuple[str, TokenArray, TokenArray, float]]:
    """Answers among which the right one has this place, counted from 1."""
    others = [
        np.array([[8, i // 9 % 9 + 1, i % 9 + 1, i // 81]], np.uint8) for i in range(place - 1)
    ]
    return [("a", question, grid, 5.0) for grid in others for _ in range(2)] + [
        ("a", question, RIGHT, 5.0)
    ]


@pytest.mark.parametrize(
    ("place", "expected"),
    [
        (1, (1, 1, 1, 1)),
        (2, (0, 1, 1, 1)),
        (3, (0, 0, 1, 1)),
        (10, (0, 0, 1, 1)),
        (11, (0, 0, 0, 1)),
    ],
)
def test_task_is_solved_from_the_place_of_its_solution_on(
    place: int, expected: tuple[int, ...]
) -> None:
    votes = votes_of(ranked_at(place))
    questions = {"a": Question([ASKED], [RIGHT])}
    assert tuple(pass_at(votes, questions, (1, 2, 10, 100)).values()) == expected
    assert ranks(votes, questions) == {"a": place}


def test_task_is_solved_only_with_all_of_its_test_inputs() -> None:
    second = np.array([[4]], np.uint8)
    votes = votes_of([*ranked_at(1), *ranked_at(2, second)])
    questions = {"a": Question([ASKED, second], [RIGHT, RIGHT]), "b": Question([ASKED], [RIGHT])}
    assert pass_at(votes, questions) == {1: 0, 2: 0.5, 10: 0.5, 100: 0.5, 1000: 0.5}
    assert ranks(votes, questions) == {"a": 2, "b": math.inf}


def test_each_test_input_has_its_place_and_votes() -> None:
    second, third = np.array([[4]], np.uint8), np.array([[6]], np.uint8)
    votes = votes_of(
        [*ranked_at(1), *ranked_at(2, second), *ranked_at(1), ("a", third, WRONG, 0.0)]
    )
    found = standings(
        votes, {"a": Question([ASKED, second, third], [RIGHT] * 3), "b": Question([ASKED], [None])}
    )
    assert found == {"a": [Standing(1, 2, 2), Standing(2, 1, 3), Standing(math.inf, 0, 1)]}


def test_tasks_without_solutions_do_not_count() -> None:
    questions = {"a": Question([ASKED], [RIGHT]), "b": Question([ASKED], [None])}
    assert pass_at(votes_of(ranked_at(1)), questions, [1]) == {1: 1.0}
    assert solutions(questions) == {"a": [RIGHT.tolist()]}
    assert pass_at(votes_of(ranked_at(1)), {}, [1]) == {1: 0.0}


def test_answer_without_any_grid_has_a_place_but_is_no_attempt() -> None:
    votes = Votes(NAMES)
    answers = np.zeros((5, 900), np.int32)
    answers[3:] = canvas("a", RIGHT)
    votes.add(np.ones(5, int), np.stack([canvas("a", ASKED)] * 5), answers, np.zeros(5, np.float32))
    questions = {"a": Question([ASKED], [RIGHT])}
    assert ranks(votes, questions) == {"a": 2}
    assert submission(votes, questions) == {
        "a": [{"attempt_1": RIGHT.tolist(), "attempt_2": [[0, 0], [0, 0]]}]
    }


def test_submission_has_two_attempts_for_every_test_input_of_every_task() -> None:
    second = np.array([[4]], np.uint8)
    votes = votes_of([*ranked_at(3), ("a", second, WRONG, 0.0)])
    questions = {"a": Question([ASKED, second], [RIGHT, RIGHT]), "b": Question([ASKED], [None])}
    nothing = [[0, 0], [0, 0]]
    assert submission(votes, questions) == {
        "a": [
            {"attempt_1": [[8, 1, 1, 0]], "attempt_2": [[8, 1, 2, 0]]},
            {"attempt_1": WRONG.tolist(), "attempt_2": nothing},
        ],
        "b": [{"attempt_1": nothing, "attempt_2": nothing}],
    }


def test_submission_scores_what_pass_at_2_says() -> None:
    rng = np.random.default_rng(0)
    choices = [RIGHT, WRONG, ASKED, RIGHT.T, RIGHT[:1]]
    asked = [np.array([[number // 9 + 1, number % 9 + 1]], np.uint8) for number in range(40)]
    answers = [
        ("a", question, choices[rng.integers(5)], float(rng.normal()))
        for question in asked
        for _ in range(4)
    ]
    votes = votes_of(answers)
    each = [{"a": Question([question], [RIGHT])} for question in asked]
    solved = [
        score(submission(votes, questions), solutions(questions)).record["tasks_solved"]
        for questions in each
    ]
    assert solved == [pass_at(votes, questions)[2] for questions in each]
    assert 0 < sum(solved) < 40


def test_blocks_make_no_difference(monkeypatch: pytest.MonkeyPatch) -> None:
    answers = [*ranked_at(4), ("a_t1_0987654321", ASKED, RIGHT, 0.0), ("b", ASKED, RIGHT, 1.0)]
    whole = votes_of(answers)
    monkeypatch.setattr("hrm_tasks.arc.pooling.BLOCK", 2)
    assert [vars(c) for c in votes_of(answers).ranked("a", ASKED)] == [
        vars(c) for c in whole.ranked("a", ASKED)
    ]


def test_questions_are_those_of_the_puzzles_that_are_not_augmented(tmp_path: Path) -> None:
    second = np.array([[4]], np.uint8)
    inputs = np.concatenate(
        [np.stack([canvas(name, ASKED), canvas(name, second)]) for name in NAMES[1:4]]
        + [canvas("b", ASKED)[None]]
    )
    labels = np.stack(
        [canvas(name, grid) for name in NAMES[1:4] for grid in (RIGHT, WRONG)]
        + [np.zeros(900, np.uint8)]
    )
    block = Examples(
        inputs,
        labels,
        puzzle_sizes=np.array([2, 2, 2, 1]),
        group_sizes=np.array([3, 1]),
        puzzle_identifiers=np.arange(1, 5),
    )
    write_dataset(
        tmp_path / "data", Layout(12, 900, identifiers=tuple(NAMES)), {"test": {"all": [block]}}, {}
    )
    split = load_split(tmp_path / "data", "test")
    found = questions_of(split, NAMES)
    assert [
        (task, [grid.tolist() for grid in question.inputs]) for task, question in found.items()
    ] == [
        ("a", [[[5, 6, 7]], [[4]]]),
        ("b", [[[5, 6, 7]]]),
    ]
    assert solutions(found) == {"a": [RIGHT.tolist(), WRONG.tolist()]}
    votes = Votes(NAMES)
    examples = split.sets["all"]
    votes.add(
        examples.puzzle_identifiers[examples.puzzle_of(np.arange(7))],
        examples.inputs,
        examples.labels,
        np.zeros(7, np.float32),
    )
    assert pass_at(votes, found, [1]) == {1: 1.0}
    with pytest.raises(DataError, match=r"uses puzzle identifier 2, identifiers\.json names 2"):
        questions_of(split, NAMES[:2])


def test_identifiers_of_a_task_ask_its_augmentations() -> None:
    names = ["<blank>", "ab", "ab_t1_0123456789", "a_t3_0213456789", "a", "a_t0_0213456789"]
    assert identifiers_of(names, "a").tolist() == [4, 3, 5]
    assert identifiers_of(names, "never trained").tolist() == []
    own = [names[number] for number in identifiers_of(names, "a")]
    np.testing.assert_array_equal(
        asked_as(ASKED, own), np.stack([canvas(name, ASKED) for name in own])
    )


def test_many_augmentations_are_pooled_as_one_by_one() -> None:
    """The protocol with everything random, against an implementation that takes one answer after the other."""
    rng = np.random.default_rng(2)
    drawn = draw_augmentations(colour_sums([ASKED, RIGHT])[None], 100, rng)
    names = drawn.names("a")
    choices = [RIGHT, RIGHT.T, WRONG, ASKED]
    picked, logits = rng.integers(0, 4, len(names)), rng.normal(size=len(names)).astype(np.float32)
    votes = Votes(names)
    answers = np.stack(
        [canvas(name, choices[choice]) for name, choice in zip(names, picked, strict=True)]
    )
    votes.add(np.arange(len(names)), asked_as(ASKED, names), answers, logits)
    expected = {}
    for i, choice in enumerate(choices):
        own = logits[picked == i].astype(float)
        expected[str(choice.tolist())] = (len(own), float(np.mean(1 / (1 + np.exp(-own)))))
    found = [(str(c.grid.tolist()), c.count, c.confidence) for c in votes.ranked("a", ASKED)]
    ordered = sorted(expected.items(), key=lambda item: item[1], reverse=True)
    assert [(grid, count) for grid, count, _ in found] == [
        (grid, count) for grid, (count, _) in ordered
    ]
    np.testing.assert_allclose(
        [confidence for *_, confidence in found], [confidence for _, (_, confidence) in ordered]
    )
