import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from hrm_core.errors import PuzzleError
from hrm_core.tasks.capabilities import Judged, Polled, Symmetric, given_cells
from hrm_core.tasks.contract import Task, TokenArray
from hrm_core.tasks.registry import label_of, require_task, task_of_shape
from hrm_tasks.arc.canvas import decode, encode
from hrm_tasks.arc.task import Arc

ARC = Arc()
GRIDS = hnp.arrays(
    np.uint8,
    hnp.array_shapes(min_dims=2, max_dims=2, min_side=1, max_side=30),
    elements=st.integers(0, 9),
)
PLAIN = np.zeros(900, int)


def test_arc_is_a_task_and_is_known_by_name_and_shape() -> None:
    assert isinstance(ARC, Task)
    assert isinstance(task_of_shape(12, 900), Arc)
    assert isinstance(require_task(12, 900, "arc", "x"), Arc)
    assert Arc.for_shape(11, 900) is None


def test_smaller_canvas_is_known_by_its_label_only() -> None:
    small = Arc(12)
    found = require_task(12, 144, label_of(small), "x")
    assert isinstance(found, Arc)
    assert (found.side, found.seq_len, dict(found.settings), repr(found)) == (
        12,
        144,
        {"canvas": 12},
        "Arc(12)",
    )
    assert label_of(ARC) == "arc"
    for label in (
        "",
        "arc",
        'arc {"canvas": 13}',
        'arc {"canvas": "12"}',
        'arc {"canvas": -12}',
        'arc {"canvas": null}',
    ):
        assert task_of_shape(12, 144, label) is None
    assert task_of_shape(12, 961, 'arc {"canvas": 31}') is None


def test_smaller_canvas_reads_and_draws_what_it_has_room_for() -> None:
    small = Arc(5)
    (tokens,) = small.parse("12345\n67890")
    np.testing.assert_array_equal(
        tokens, encode([np.array([[1, 2, 3, 4, 5], [6, 7, 8, 9, 0]], np.uint8)], 5)[0], strict=True
    )
    assert small.line(tokens) == "[[1,2,3,4,5],[6,7,8,9,0]]"
    assert (
        small.picture(tokens, np.zeros(25, int), cell=20).size
        == ARC.picture(ARC.parse(small.line(tokens))[0], PLAIN, cell=20).size
    )
    with pytest.raises(
        PuzzleError,
        match=r"^grid 2 is 1x6, expected at most 5x5; a model with a larger canvas takes it$",
    ):
        small.parse("1\n\n123456")


@given(st.lists(GRIDS, min_size=1, max_size=4))
@settings(max_examples=30, deadline=None)
def test_drawn_and_written_grids_read_back(grids: list[TokenArray]) -> None:
    tokens = encode(grids)
    for text in (
        "\n\n".join(map(ARC.format, tokens)),
        " ".join(map(ARC.line, tokens)),
        "\n".join(map(ARC.line, tokens)),
    ):
        np.testing.assert_array_equal(ARC.parse(text), tokens, strict=True)
    assert not any(character.isspace() for character in ARC.line(tokens[0]))


@pytest.mark.parametrize(
    "text",
    ["012\n345", " 0 1 2 \r\n 3 4 5\r\n", "[[0,1,2],[3,4,5]]", "\ufeff[[0, 1, 2],\n [3, 4, 5]]\n"],
)
def test_grids_are_read_as_people_write_them(text: str) -> None:
    assert [decode(tokens).tolist() for tokens in ARC.parse(text)] == [[[0, 1, 2], [3, 4, 5]]]


def test_a_task_asks_its_test_inputs() -> None:
    content = {
        "train": [{"input": [[1]], "output": [[2]]}],
        "test": [{"input": [[3]]}, {"input": [[4, 4]], "output": [[5]]}],
    }
    assert [decode(tokens).tolist() for tokens in ARC.parse(json.dumps(content))] == [
        [[3]],
        [[4, 4]],
    ]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "no grid found in 0 characters of text; expected rows of digits"),
        (
            "12\n3x",
            "grid 1, row 2 holds 'x'; expected rows of digits 0 to 9, a JSON list of rows, or the JSON of a task",
        ),
        ("1\n\n12\n3", "grid 2: row 2 has 1 cells, row 1 has 2"),
        ("0" * 31, "grid 1 is 1x31, expected 1x1 to 30x30; give another grid"),
        ("[[1]] [[1, 12]]", "grid 2: row 1 holds 12, expected colours 0 to 9"),
        ("[[1]", "grid 1 is not JSON"),
        ("[" * 100_000, "grid 1 is not JSON"),
        ("[1]", "grid 1 is a list of 1, expected a list of rows"),
        ("{}", "the task has no list of train pairs"),
        ("٣", "grid 1, row 1 holds '٣'"),
    ],
)
def test_what_is_no_grid_is_one_line(text: str, message: str) -> None:
    with pytest.raises(PuzzleError) as refused:
        ARC.parse(text)
    assert str(refused.value).startswith(message)
    assert "\n" not in str(refused.value)


@given(st.text(max_size=60) | st.text(alphabet='[]{},":0123456789 \n', max_size=60))
@settings(max_examples=200, deadline=None)
def test_any_text_is_read_or_one_line(text: str) -> None:
    refusal = ""
    try:
        assert ARC.parse(text).shape[1] == 900
    except PuzzleError as error:
        refusal = str(error)
    assert "\n" not in refusal


def test_answer_without_any_grid_is_said_to_be_none() -> None:
    assert ARC.format(np.zeros(900, np.uint8)) == "(no grid)"
    assert ARC.line(np.ones(900, np.uint8)) == "[]"
    assert ARC.picture(np.ones(900, np.uint8), PLAIN, cell=10).size == (12, 12)


def test_only_the_solution_can_tell_and_votes_are_augmentations() -> None:
    tokens = encode([np.array([[1]], np.uint8)])
    assert not isinstance(ARC, Judged)
    assert not given_cells(ARC, tokens).any()
    assert isinstance(ARC, Polled)
    assert not isinstance(ARC, Symmetric)


def test_solution_that_the_canvas_has_no_room_for_is_no_answer() -> None:
    pair = {"input": [[1]], "output": [[1] * 4]}
    text = json.dumps({"train": [pair], "test": [pair]})
    (question,) = Arc(3).questions(text, "wide")
    assert question.solution is not None
    assert question.solution.shape == (16,)
    assert Arc(4).questions(text, "wide")[0].solution.shape == (16,)  # type: ignore[union-attr]
