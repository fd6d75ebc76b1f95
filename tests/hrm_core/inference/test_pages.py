"""Sheets of examples, read back from their files."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from hrm_core.data.store import Dataset
from hrm_core.data.writer import Examples, Layout, write_dataset
from hrm_core.inference.answering import Outcome
from hrm_core.inference.pages import (
    EXAMPLE_ROOM,
    dataset_sheet,
    evaluation_sheet,
    solutions_sheet,
)
from hrm_core.inference.solution import Solution
from hrm_core.pictures.animations import save_png
from hrm_core.pictures.grids import PAINTS, PAPER, Mark
from hrm_core.pictures.sheets import LARGEST_CELL, MARGIN, ROW_GAP, TITLE_SIZE, cell_size
from hrm_core.tasks.capabilities import Candidate
from hrm_core.tasks.contract import IntArray, Task
from hrm_core.tasks.predictions import Predictions
from hrm_tasks.arc.task import Arc
from hrm_tasks.grids.task import Grids
from hrm_tasks.maze.task import Maze
from hrm_tasks.sudoku.task import Sudoku

CRIMSON = PAINTS[Mark.WRONG].fill
IN_LEGEND = 14 * 14  # pixels of its swatch, without the frame
TASKS: dict[str, tuple[Task, IntArray]] = {
    "sudoku": (Sudoku(4), np.array([4, 1, 2, 3, 2, 3, 4, 1, 1, 4, 3, 2, 3, 2, 1, 4]) + 1),
    "maze": (Maze(4), np.array([3, 2, 1, 2, 5, 1, 2, 2, 5, 5, 5, 2, 1, 1, 5, 4])),
    "arc": (Arc(6), Arc(6).parse("1234\n5678\n9012\n3456")[0].astype(int)),
    "grids": (Grids("#.ab", 4, 4), np.array([2, 3, 4, 5] * 4)),
}


def split_of(
    folder: Path, task: Task, labels: IntArray, splits: tuple[str, ...] = ("test",)
) -> Dataset:
    """A data set whose questions are their answers (N, S)."""
    layout = Layout(task.vocab_size, task.seq_len, identifiers=("<blank>", "puzzle"))
    examples = Examples(labels, labels, puzzle_identifiers=np.ones(len(labels), int))
    write_dataset(folder, layout, {split: {"all": [examples]} for split in splits}, {})
    return Dataset(folder)


def outcome_of(answers: IntArray, labels: IntArray) -> Outcome:
    """As an evaluation gives it, where 0 is not scored."""
    scored, zeros = labels > 0, np.zeros(len(labels))
    right = ((answers == labels) & scored).sum(axis=1)
    steps = np.full(len(labels), 3)
    predictions = Predictions(
        right, scored.sum(axis=1), right, scored.sum(axis=1), zeros, zeros, steps, steps, steps
    )
    return Outcome(predictions, answers, [predictions], answers[None], steps, 1.0)


def pixels(path: Path) -> IntArray:
    with Image.open(path) as image:
        return np.asarray(image.convert("RGB"), int)


def last_grid(page: IntArray) -> IntArray:
    """The colour at the upper left of each cell of the 4x4 picture in the lower right corner of a page. Returns: (4, 4, 3)."""
    size = LARGEST_CELL * 4
    below, right = page.shape[0] - MARGIN, page.shape[1] - MARGIN
    corner = 6  # pixels right of and below any line
    found: IntArray = page[below - size : below, right - size : right][
        corner::LARGEST_CELL, corner::LARGEST_CELL
    ]
    return found


@pytest.mark.parametrize("name", TASKS)
def test_cells_are_marked_exactly_where_prediction_and_answer_differ(
    name: str, tmp_path: Path
) -> None:
    task, label = TASKS[name]
    differs = np.zeros((4, 4), bool)
    differs[[0, 1, 3], [1, 3, 0]] = True
    board = np.zeros(task.seq_len, bool)
    board.reshape(int(task.seq_len**0.5), -1)[:4, :4] = differs
    answer = np.where(board, np.where(label == task.vocab_size - 1, label - 1, label + 1), label)
    data = split_of(tmp_path / "data", task, label[None])
    evaluation_sheet(
        data,
        data.split("test"),
        task,
        outcome_of(answer[None], label[None]),
        tmp_path / "sheet.png",
        1,
        "mine",
    )
    found = last_grid(pixels(tmp_path / "sheet.png"))
    np.testing.assert_array_equal((found == CRIMSON).all(axis=-1), differs)
    assert (found[~differs] > 180).all(), "what is right fades"


@pytest.mark.parametrize("kind", ["data set", "evaluation", "solutions"])
def test_pages_of_mazes_say_what_start_goal_and_path_are(kind: str, tmp_path: Path) -> None:
    task, label = TASKS["maze"]
    out = tmp_path / "sheet.png"
    data = split_of(tmp_path / "data", task, label[None])
    if kind == "data set":
        dataset_sheet(data, task, out, 1)  # type: ignore[arg-type]
    elif kind == "evaluation":
        outcome = outcome_of(label[None], label[None])
        evaluation_sheet(data, data.split("test"), task, outcome, out, 1, "mine")  # type: ignore[arg-type]
    else:
        solution = Solution(task, label, label[None], np.zeros(1, np.float32), 1)
        save_png(solutions_sheet([solution]), out)
    above = pixels(out)[: MARGIN + 2 * TITLE_SIZE + ROW_GAP]  # no board lies there
    for swatch in Maze(4).swatches:
        assert (above == swatch.colour).all(axis=-1).sum() >= IN_LEGEND


def test_wrong_answers_come_first_and_then_right_ones(tmp_path: Path) -> None:
    task, label = TASKS["sudoku"]
    labels = np.tile(label, (9, 1))
    answers = labels.copy()
    answers[[4, 7], 5] = 2 + (answers[[4, 7], 5] == 2)
    data = split_of(tmp_path / "data", task, labels)
    for rows, wrong in ((1, 1), (2, 2), (5, 2)):
        evaluation_sheet(
            data,
            data.split("test"),
            task,
            outcome_of(answers, labels),
            tmp_path / "sheet.png",
            rows,
            "mine",
        )
        page = pixels(tmp_path / "sheet.png")
        marked = (page == CRIMSON).all(axis=-1)
        assert marked.sum() == pytest.approx(wrong * 47 * 47 * 0.9 + IN_LEGEND, rel=0.15)
        is_last_right = not (last_grid(page) == CRIMSON).all(axis=-1).any()
        assert is_last_right == (rows > 2)


def test_cells_that_are_not_scored_are_neither_right_nor_wrong(tmp_path: Path) -> None:
    """Whatever a model says beside a small answer to ARC, only what was asked of it is shown."""
    task = Arc(8)
    label = task.parse("12\n34")[0].astype(int)
    answer = np.where(label > 0, label, 7)
    answer[0] = 9
    data = split_of(tmp_path / "data", task, label[None])
    evaluation_sheet(
        data,
        data.split("test"),
        task,
        outcome_of(answer[None], label[None]),
        tmp_path / "sheet.png",
        1,
        "mine",
    )
    one_wrong = np.where(np.arange(64) == 0, Mark.WRONG, Mark.RIGHT)
    expected = np.asarray(task.picture(np.where(label > 0, answer, 0), one_wrong, LARGEST_CELL))
    marked = (pixels(tmp_path / "sheet.png") == CRIMSON).all(axis=-1).sum()
    assert marked == (expected == CRIMSON).all(axis=-1).sum() + IN_LEGEND


def test_examples_without_labels_are_left_out(tmp_path: Path) -> None:
    task, label = TASKS["arc"]
    labels = np.stack([label, np.zeros_like(label)])
    data = split_of(tmp_path / "data", task, labels)
    evaluation_sheet(
        data,
        data.split("test"),
        task,
        outcome_of(np.full_like(labels, 5), labels),
        tmp_path / "two.png",
        2,
        "mine",
    )
    evaluation_sheet(
        data,
        data.split("test"),
        task,
        outcome_of(np.full_like(labels, 5), labels),
        tmp_path / "one.png",
        1,
        "mine",
    )
    np.testing.assert_array_equal(pixels(tmp_path / "two.png"), pixels(tmp_path / "one.png"))


def test_examples_are_shown_where_no_solution_is_known(tmp_path: Path) -> None:
    task, label = TASKS["arc"]
    nothing = np.zeros_like(label)[None]
    data = split_of(tmp_path / "data", task, label[None])
    evaluation_sheet(
        data,
        data.split("test"),
        task,
        outcome_of(label[None], nothing),
        tmp_path / "sheet.png",
        1,
        "mine",
    )
    page = pixels(tmp_path / "sheet.png")
    drawn = task.picture(label.astype(np.uint8), np.full(task.seq_len, Mark.PLAIN), LARGEST_CELL)
    assert colours(drawn) <= {tuple(colour) for colour in page.reshape(-1, 3).tolist()}


def test_page_of_solutions_shows_every_attempt() -> None:
    task = Arc(6)
    question, *answers = (
        task.parse(text)[0].astype(np.uint8) for text in ("11\n11", "22\n22", "33\n33")
    )
    attempts = [Candidate(answer, 1, 0.9, row) for row, answer in enumerate(answers)]
    one = Solution(
        task,
        question,
        answers[0][None],
        np.zeros(1, np.float32),
        1,
        attempts=attempts[:1],
        solution=answers[0],
    )
    two = replace(one, attempts=attempts, solution=answers[1])
    assert two.verdict == "attempt 2 is right"
    shown = [colours(solutions_sheet(page)) for page in ([one], [two], [one, two])]
    second = (
        colours(task.picture(answers[1], np.full(task.seq_len, Mark.PLAIN), LARGEST_CELL))
        - shown[0]
    )
    assert second
    assert second <= shown[1] & shown[2]


def colours(image: Image.Image) -> set[tuple[int, ...]]:
    return {tuple(colour) for colour in np.asarray(image.convert("RGB")).reshape(-1, 3).tolist()}


@pytest.mark.parametrize("name", TASKS)
def test_dataset_sheet_spreads_over_every_split(name: str, tmp_path: Path) -> None:
    task, label = TASKS[name]
    split_of(tmp_path / "data", task, np.tile(label, (5, 1)), ("train", "test"))
    heights = []
    for rows in (1, 2, 5, 9):
        dataset_sheet(Dataset(tmp_path / "data"), task, tmp_path / "sheet.png", rows)
        page = pixels(tmp_path / "sheet.png")
        assert (page[:MARGIN] == PAPER).all()
        assert (page[:, -MARGIN:] == PAPER).all()
        heights.append(page.shape[0])
    assert heights[0] == heights[1] < heights[2] == heights[3], (
        "four fit beside each other, ten do not, and there are no more"
    )


def test_first_and_last_example_are_on_the_sheet(tmp_path: Path) -> None:
    """Not the augmentations of one puzzle only, which stand side by side."""
    task = Grids("#.ab", 4, 4)
    labels = np.full((50, 16), 3)
    labels[0], labels[-1] = 4, 5
    split_of(tmp_path / "data", task, labels)
    dataset_sheet(Dataset(tmp_path / "data"), task, tmp_path / "sheet.png", 3)
    colours = {
        tuple(colour)
        for colour in np.unique(pixels(tmp_path / "sheet.png").reshape(-1, 3), axis=0).tolist()
    }
    for token in (3, 4, 5):
        assert (
            task.picture(np.full(16, token, np.uint8), np.zeros(16, int), 24).getpixel((4, 4))
            in colours
        )


@pytest.mark.parametrize("side", [2, 5, 12, 30])
def test_cells_are_as_large_as_there_is_room_for(side: int) -> None:
    task = Arc(30)
    grids = [
        task.parse("\n".join(["1" * width] * height))[0]
        for width, height in ((1, 1), (side, 1), (1, side))
    ]
    cell = cell_size(task.picture, grids, EXAMPLE_ROOM)
    assert cell == min(LARGEST_CELL, EXAMPLE_ROOM // side)
    assert cell_size(task.with_digits().picture, grids, EXAMPLE_ROOM) == cell
    assert cell_size(task.picture, grids, 1) == 1
