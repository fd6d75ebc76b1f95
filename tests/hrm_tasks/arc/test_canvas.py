import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from hrm_core.errors import DataError
from hrm_core.tasks.contract import TokenArray
from hrm_tasks.arc.canvas import checked_grid, decode, encode, grid_sizes, side_of, window

SIDES = pytest.mark.parametrize("side", [5, 12, 30])
SHARES = st.tuples(st.floats(0, 1), st.floats(0, 1))  # 1 is the whole canvas


def filled(side: int, shares: tuple[float, float], seed: int) -> TokenArray:
    """A grid that takes about these shares of the sides of a canvas."""
    height, width = (max(1, round(share * side)) for share in shares)
    return np.random.default_rng(seed).integers(0, 10, (height, width)).astype(np.uint8)


def largest_rectangle(canvas: TokenArray) -> tuple[int, int]:
    """Every rectangle in the corner tried in turn, as published: the first of the largest area."""
    side = side_of(canvas)
    cells, best, size = canvas.reshape(side, side), 0, (0, 0)
    for height in range(1, side + 1):
        for width in range(1, side + 1):
            block = cells[:height, :width]
            if height * width > best and ((block >= 2) & (block <= 11)).all():
                best, size = height * width, (height, width)
    return size


@SIDES
@pytest.mark.parametrize("share", [0.0, 0.003, 0.01, 0.1, 1.0])
def test_crop_is_the_largest_rectangle_of_colours(share: float, side: int) -> None:
    rng = np.random.default_rng(round(share * 1000))
    canvases = rng.integers(2, 12, (6, side * side)).astype(np.uint8)
    is_other = rng.random(canvases.shape) < share
    canvases[is_other] = rng.choice([0, 1, 12, 255], is_other.sum())
    canvases[:, 0] = [2, 11, 2, 5, 2, 1]
    assert grid_sizes(canvases).tolist() == [list(largest_rectangle(canvas)) for canvas in canvases]


def test_of_equal_rectangles_the_flattest_is_taken() -> None:
    canvas = np.zeros((30, 30), np.uint8)
    canvas[0, :6] = canvas[:3, :2] = 5
    assert grid_sizes(canvas.reshape(1, 900)).tolist() == [[1, 6]]


@SIDES
@given(shares=SHARES, seed=st.integers(0, 9))
@example(shares=(1, 1), seed=0)
@example(shares=(1, 0.5), seed=0)
@settings(max_examples=50, deadline=None)
def test_grid_comes_back_from_its_canvas(side: int, shares: tuple[float, float], seed: int) -> None:
    grid = filled(side, shares, seed)
    (canvas,) = encode([grid], side)
    assert canvas.shape == (side * side,)
    np.testing.assert_array_equal(decode(canvas), grid, strict=True)
    height, width = grid.shape
    assert (canvas == 1).sum() == (width if height < side else 0) + (height if width < side else 0)


def test_end_markers_are_right_beside_and_below_but_not_in_the_corner() -> None:
    canvas = encode([np.array([[0, 3, 9], [1, 2, 0]], np.uint8)]).reshape(30, 30)
    assert canvas[:4, :5].tolist() == [
        [2, 5, 11, 1, 0],
        [3, 4, 2, 1, 0],
        [1, 1, 1, 0, 0],
        [0, 0, 0, 0, 0],
    ]


@SIDES
@given(shares=SHARES, seed=st.integers(0, 9), top=st.integers(0, 29), left=st.integers(0, 29))
@settings(max_examples=50, deadline=None)
def test_shifted_grid_is_found(
    side: int, shares: tuple[float, float], seed: int, top: int, left: int
) -> None:
    grid = filled(side, shares, seed)
    height, width = grid.shape
    top, left = min(top, side - height), min(left, side - width)
    canvas = np.zeros((side + 1, side + 1), np.uint8)
    canvas[top : top + height + 1, left : left + width] = canvas[
        top : top + height, left : left + width + 1
    ] = 1
    canvas[top : top + height, left : left + width] = grid + 2
    assert window(canvas[:side, :side].reshape(-1)) == (
        slice(top, top + height),
        slice(left, left + width),
    )


def test_canvas_without_colours_has_no_grid() -> None:
    canvas = np.ones(900, np.uint8)
    assert decode(canvas).shape == (0, 0)
    assert window(canvas) == (slice(0, 0), slice(0, 0))


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (None, "g is None, expected a list of rows of colours"),
        ([], "g is a list of 0, expected a list of rows of colours"),
        ({"a": 1}, "g is an object of 1, expected"),
        ([1, 2], "g is a list of 2, expected a list of rows"),
        ([[]], "g is 1x0, expected 1x1 to 30x30"),
        ([[1, 2], [3]], "g: row 2 has 1 cells, row 1 has 2; make them alike"),
        ([[0] * 31], "g is 1x31, expected 1x1 to 30x30"),
        ([[0]] * 31, "g is 31x1, expected 1x1 to 30x30"),
        ([[0], [10]], "g: row 2 holds 10, expected colours 0 to 9"),
        ([[-1]], "g: row 1 holds -1, expected"),
        ([[True]], "g: row 1 holds True, expected"),
        ([[1.0]], "g: row 1 holds 1.0, expected"),
        ([["1"]], "g: row 1 holds '1', expected"),
        ([[[1]]], "g: row 1 holds a list of 1, expected"),
        ([[10**400]], "g: row 1 holds 1000000"),
    ],
)
def test_what_is_no_grid_is_refused(value: object, message: str) -> None:
    with pytest.raises(DataError) as refused:
        checked_grid(value, "g")
    assert str(refused.value).startswith(message)
    assert len(str(refused.value)) < 120
