from itertools import permutations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from hrm_core.errors import DataError
from hrm_core.tasks.contract import TokenArray
from hrm_tasks.arc.augment import (
    Augmentations,
    augmented,
    colour_sums,
    draw_augmentations,
    exact_keys,
    looks_augmented,
    parse_names,
    symmetric_keys,
    task_of,
    undone,
)
from hrm_tasks.arc.canvas import decode, encode

GRIDS = hnp.arrays(
    np.uint8,
    hnp.array_shapes(min_dims=2, max_dims=2, min_side=1, max_side=30),
    elements=st.integers(0, 9),
)
COLOURS = st.permutations(range(1, 10)).map(lambda order: np.array([0, *order], np.uint8))


def some_pairs(seed: int, count: int, most: int = 4) -> list[tuple[TokenArray, TokenArray]]:
    rng = np.random.default_rng(seed)
    sizes = rng.integers(1, most + 1, (count, 2, 2))
    return [
        (rng.integers(0, 10, first).astype(np.uint8), rng.integers(0, 10, second).astype(np.uint8))
        for first, second in sizes
    ]


def test_symmetries_are_numbered_as_published() -> None:
    grid = np.array([[1, 2, 3], [4, 5, 6]], np.uint8)
    same = np.arange(10, dtype=np.uint8)
    assert [augmented(grid, symmetry, same).tolist() for symmetry in range(8)] == [
        [[1, 2, 3], [4, 5, 6]],
        [[3, 6], [2, 5], [1, 4]],
        [[6, 5, 4], [3, 2, 1]],
        [[4, 1], [5, 2], [6, 3]],
        [[3, 2, 1], [6, 5, 4]],
        [[4, 5, 6], [1, 2, 3]],
        [[1, 4], [2, 5], [3, 6]],
        [[6, 3], [5, 2], [4, 1]],
    ]


@pytest.mark.parametrize("symmetry", range(8))
@given(grid=GRIDS, colours=COLOURS, is_tight=st.booleans())
@settings(max_examples=15, deadline=None)
def test_undone_augmentation_is_the_grid(
    symmetry: int, grid: TokenArray, colours: TokenArray, is_tight: bool
) -> None:
    augmentation = Augmentations(np.array([symmetry], np.uint8), colours[None])
    canvas = encode([augmented(grid, symmetry, colours)], max(grid.shape) if is_tight else 30)
    np.testing.assert_array_equal(decode(undone(canvas, augmentation)[0]), grid, strict=True)


@pytest.mark.parametrize("side", [5, 12, 30])
def test_many_are_undone_at_once_and_what_is_around_the_grid_does_not_matter(side: int) -> None:
    rng = np.random.default_rng(5)
    grids = [rng.integers(0, 10, rng.integers(1, side + 1, 2)).astype(np.uint8) for _ in range(64)]
    colours = np.stack([np.append(0, rng.permutation(9) + 1) for _ in grids]).astype(np.uint8)
    augmentations = Augmentations(np.arange(64, dtype=np.uint8) % 8, colours)
    moved = [
        augmented(*item)
        for item in zip(
            grids, augmentations.symmetries.tolist(), augmentations.colours, strict=True
        )
    ]
    canvases = encode(moved, side)
    noisy = canvases.copy().reshape(-1, side, side)
    noisy[:, -1, -1] = np.where(noisy[:, -1, -1] == 0, 7, noisy[:, -1, -1])
    corners = np.where(undone(canvases, augmentations) >= 2, undone(canvases, augmentations), 0)
    pads = [np.where(canvas == 1, 0, canvas) for canvas in encode(grids, side)]
    np.testing.assert_array_equal(corners, pads)
    np.testing.assert_array_equal(
        undone(noisy.reshape(-1, side * side).astype(np.int32), augmentations), pads
    )


@given(st.text(min_size=1), st.integers(0, 7), COLOURS)
@settings(max_examples=50, deadline=None)
def test_names_read_back(task: str, symmetry: int, colours: TokenArray) -> None:
    augmentations = Augmentations(
        np.array([0, symmetry], np.uint8), np.stack([np.arange(10, dtype=np.uint8), colours])
    )
    plain, name = augmentations.names(task)
    assert (plain, name) == (task, f"{task}_t{symmetry}_{''.join(map(str, colours))}")
    tasks, found = parse_names([name])
    assert (tasks, found.symmetries.tolist()) == ([task], [symmetry])
    np.testing.assert_array_equal(found.colours[0], colours)


@pytest.mark.parametrize("name", ["00576224", "a_t1", "a_t1_20240131", "a_t1_01234567890", "a||b"])
def test_other_names_are_tasks_themselves(name: str) -> None:
    assert task_of(name) == name
    tasks, (symmetries, colours) = parse_names([name])
    assert (tasks, symmetries.tolist(), colours.tolist()) == ([name], [0], [list(range(10))])


def test_names_of_the_successor_are_the_same_augmentations() -> None:
    ours, theirs = "a_b_t5_0928374651", "a_b|||t5|||0928374651"
    assert task_of(theirs) == task_of(ours) == "a_b"
    for own, other in zip(parse_names([ours])[1], parse_names([theirs])[1], strict=True):
        np.testing.assert_array_equal(own, other)
    assert looks_augmented(theirs)
    assert looks_augmented(ours)


@pytest.mark.parametrize(
    "name",
    [
        "a_t8_0123456789",
        "a_t1_1023456789",
        "a_t1_0123456788",
        "_t1_0123456789",
        "a|||t1",
        "a|||t8|||0123456789",
        "a|||t1_0123456789",
        "a|||rot90|||0123456789",
        "a|||t1|||0123456789|||t2|||0123456789",
        "a|||",
    ],
)
def test_name_that_only_looks_augmented_is_refused(name: str) -> None:
    for read in (task_of, lambda each: parse_names(["00576224", each])):
        with pytest.raises(
            DataError, match="is written like an augmentation and is none"
        ) as refused:
            read(name)
        assert repr(name) in str(refused.value)


def all_grids(
    pairs: list[tuple[TokenArray, TokenArray]], symmetry: int, colours: TokenArray
) -> tuple[bytes, ...]:
    """What a task is made of, whatever the order of its pairs."""
    moved = [[augmented(grid, symmetry, colours) for grid in pair] for pair in pairs]
    return tuple(
        sorted(b"|".join(bytes(grid.shape) + grid.tobytes() for grid in pair) for pair in moved)
    )


@pytest.mark.parametrize("seed", range(4))
def test_augmentations_are_distinct_by_all_grids_together(seed: int) -> None:
    pairs = some_pairs(seed, 3, most=2)
    for pair in pairs:
        for grid in pair:
            grid[grid > 3] = 0  # few colours: most of the tries are repeats
    drawn = draw_augmentations(
        np.stack([colour_sums(pair) for pair in pairs]), 500, np.random.default_rng(seed)
    )
    grids = [
        all_grids(pairs, symmetry, colours)
        for symmetry, colours in zip(drawn.symmetries.tolist(), drawn.colours, strict=True)
    ]
    assert len(set(grids)) == len(grids) <= 501
    assert (drawn.symmetries[0], drawn.colours[0].tolist()) == (0, list(range(10)))
    assert (np.sort(drawn.colours, axis=1) == np.arange(10)).all()
    assert (drawn.colours[:, 0] == 0).all()


def test_every_augmentation_there_is_is_found_and_no_more() -> None:
    pairs = [(np.array([[1, 2]], np.uint8), np.array([[0]], np.uint8))]
    drawn = draw_augmentations(colour_sums(pairs[0])[None], 1000, np.random.default_rng(0))
    assert (
        len(drawn.symmetries) == 2 * 9 * 8
    )  # lying or standing, two colours out of nine; symmetries repeat what colours do
    images = [
        [0, *two, *sorted(set(range(1, 10)) - set(two))] for two in permutations(range(1, 10), 2)
    ]
    everything = {
        all_grids(pairs, symmetry, np.array(image, np.uint8))
        for symmetry in range(8)
        for image in images
    }
    assert len(everything) == 2 * 9 * 8


def test_as_many_as_asked_for_are_drawn_and_repeat_with_the_seed() -> None:
    sums = np.stack([colour_sums(pair) for pair in some_pairs(1, 4)])
    first, second = (draw_augmentations(sums, 200, np.random.default_rng(3)) for _ in range(2))
    assert len(first.symmetries) == 201
    np.testing.assert_array_equal(first.colours, second.colours)
    assert set(first.symmetries.tolist()) == set(range(8))
    assert len(draw_augmentations(sums, 0, np.random.default_rng(3)).symmetries) == 1


def test_keys_tell_pairs_apart_but_for_augmentations() -> None:
    rng = np.random.default_rng(9)
    pairs = [*some_pairs(7, 200), *some_pairs(8, 20, most=30)]
    sums = np.stack([colour_sums(pair) for pair in pairs])
    moved = []
    for pair in pairs:
        symmetry, colours = (
            int(rng.integers(8)),
            np.append(0, rng.permutation(9) + 1).astype(np.uint8),
        )
        moved.append(colour_sums([augmented(grid, symmetry, colours) for grid in pair]))
    assert symmetric_keys(sums) == symmetric_keys(np.stack(moved))
    content = [b"|".join(bytes(grid.shape) + grid.tobytes() for grid in pair) for pair in pairs]
    assert len(set(exact_keys(sums))) == len(set(content))
    assert symmetric_keys(sums) != symmetric_keys(
        np.stack([colour_sums(pair[::-1]) for pair in pairs])
    )  # input and output change places
