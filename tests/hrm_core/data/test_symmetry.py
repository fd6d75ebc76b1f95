import numpy as np
import pytest

from hrm_core.data.symmetry import Symmetry


@pytest.fixture
def symmetries() -> Symmetry:
    rng = np.random.default_rng(0)
    return Symmetry(
        cells=rng.permuted(np.tile(np.arange(16), (50, 1)), axis=1),
        tokens=rng.permuted(np.tile(np.arange(6), (50, 1)), axis=1),
    )


@pytest.fixture
def grids() -> np.ndarray:
    return np.random.default_rng(1).integers(0, 6, size=(50, 16), dtype=np.uint8)


def test_inverse_undoes_a_symmetry_both_ways(symmetries: Symmetry, grids: np.ndarray) -> None:
    np.testing.assert_array_equal(symmetries.inverse().apply(symmetries.apply(grids)), grids)
    np.testing.assert_array_equal(symmetries.apply(symmetries.inverse().apply(grids)), grids)


def test_symmetry_applied_twice_is_not_its_inverse(symmetries: Symmetry, grids: np.ndarray) -> None:
    assert not np.array_equal(symmetries.apply(symmetries.apply(grids)), grids)


def test_inverse_of_the_inverse_is_the_symmetry(symmetries: Symmetry) -> None:
    twice = symmetries.inverse().inverse()
    np.testing.assert_array_equal(twice.cells, symmetries.cells)
    np.testing.assert_array_equal(twice.tokens, symmetries.tokens)


def test_cells_say_where_from_and_tokens_what_becomes_of_them() -> None:
    symmetry = Symmetry(cells=np.array([[1, 2, 0]]), tokens=np.array([[0, 2, 1]]))
    np.testing.assert_array_equal(symmetry.apply(np.array([[0, 1, 2]], np.uint8)), [[2, 1, 0]])


def test_dtype_is_kept_and_length_counts_symmetries(
    symmetries: Symmetry, grids: np.ndarray
) -> None:
    assert symmetries.apply(grids).dtype == np.uint8
    assert symmetries.apply(grids.astype(np.int32)).dtype == np.int32
    assert len(symmetries) == 50
