import numpy as np
import pytest

from hrm_core.data.dihedral import KEEP_SHAPE, NUM_VIEWS, square_cells, turned

GRID = np.array([["a", "b", "c"], ["d", "e", "f"]])
VIEWS = [  # of this grid, in the published order
    ["abc", "def"],
    ["cf", "be", "ad"],
    ["fed", "cba"],
    ["da", "eb", "fc"],
    ["cba", "fed"],
    ["def", "abc"],
    ["ad", "be", "cf"],
    ["fc", "eb", "da"],
]
SQUARES = [  # "abcdefghi" in rows of three, in the same order
    "abcdefghi",
    "cfibehadg",
    "ihgfedcba",
    "gdahebifc",
    "cbafedihg",
    "ghidefabc",
    "adgbehcfi",
    "ifchebgda",
]


@pytest.mark.parametrize("view", range(NUM_VIEWS))
def test_views_are_numbered_as_published(view: int) -> None:
    assert ["".join(row) for row in turned(GRID, view)] == VIEWS[view]
    published = [GRID, *(np.rot90(GRID, turns) for turns in (1, 2, 3)), np.fliplr(GRID)]
    published += [np.flipud(GRID), GRID.T, np.fliplr(np.rot90(GRID))]
    np.testing.assert_array_equal(turned(GRID, view), published[view])
    assert (turned(GRID, view).shape == GRID.shape) == (view in KEEP_SHAPE)


def test_views_of_a_square_are_permutations_of_its_cells() -> None:
    cells = square_cells(3)
    assert ["".join("abcdefghi"[cell] for cell in view) for view in cells] == SQUARES
    with pytest.raises(ValueError, match="read-only"):
        cells[0, 0] = 1
