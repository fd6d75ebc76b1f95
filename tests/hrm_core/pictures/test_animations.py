"""A model at work: marks, frames and files."""

import os
from itertools import pairwise

import numpy as np
import pytest
from PIL import Image

from hrm_core.errors import HRMError
from hrm_core.pictures.animations import (
    save_gif,
    save_png,
    share_palette,
    thinking_frames,
    thinking_marks,
)
from hrm_core.pictures.grids import PAINTS, PAPER, TEXT_SIZE, Mark, cell_box, draw_board

SOLUTION = np.array([1, 2, 3, 4, 3, 4, 1, 2, 2, 1, 4, 3, 4, 3, 2, 1])
GIVEN = np.arange(16) % 3 == 0
CELL = 48


def picture(tokens, marks):
    """A 4x4 board as a task would draw it."""
    symbols = [["" if token == 0 else str(token) for token in row] for row in tokens.reshape(4, 4)]
    return draw_board(symbols, marks.reshape(4, 4), box_height=2, box_width=2, cell=CELL)


@pytest.fixture
def answers():
    """Three steps: two cells wrong at first, both changed in step 2, one of them back and forth."""
    steps = np.tile(SOLUTION, (3, 1))
    steps[0, 1] = 4
    steps[0, 2], steps[1, 2] = 1, 2
    return steps


@pytest.fixture
def frames(answers):
    return thinking_frames(picture, GIVEN, np.where(GIVEN, SOLUTION, 0), answers)


def colours_of_cells(frame):
    """The fill of each of the 16 cells. The board stands below a caption; its border is found in the leftmost column."""
    frame = frame.convert("RGB")
    dark = (np.array(frame)[:, TEXT_SIZE] < 60).all(axis=-1)
    top = int(np.flatnonzero(dark)[0])
    boxes = [cell_box(row, column, CELL) for row in range(4) for column in range(4)]
    return [frame.getpixel((TEXT_SIZE + box[0] + 6, top + box[1] + 6)) for box in boxes]


def test_marks_say_given_changed_agrees_or_plain(answers):
    marks = thinking_marks(GIVEN, np.where(GIVEN, SOLUTION, 0), answers)
    assert marks.shape == (3, 16)
    assert (marks[:, GIVEN] == Mark.GIVEN).all()
    assert marks[:, 1].tolist() == [Mark.PLAIN, Mark.CHANGED, Mark.AGREES]
    assert marks[:, 2].tolist() == [Mark.PLAIN, Mark.CHANGED, Mark.CHANGED]
    others = ~GIVEN & ~np.isin(np.arange(16), [1, 2])
    assert (marks[:, others] == Mark.AGREES).all()


def test_given_cell_that_the_model_overwrites_is_not_shown_as_given(answers):
    answers[0, 0] = 4
    marks = thinking_marks(GIVEN, np.where(GIVEN, SOLUTION, 0), answers)
    assert marks[:, 0].tolist() == [Mark.PLAIN, Mark.GIVEN, Mark.GIVEN]


def test_frames_are_the_question_and_one_a_step_in_their_colours(frames, answers):
    assert len(frames) == 1 + len(answers)
    assert len({frame.size for frame in frames}) == 1
    question = np.where(GIVEN, Mark.GIVEN, Mark.PLAIN)
    marks = [question, *thinking_marks(GIVEN, np.where(GIVEN, SOLUTION, 0), answers)]
    for frame, expected in zip(frames, marks, strict=True):
        assert colours_of_cells(frame) == [PAINTS[Mark(mark)].fill for mark in expected]


def test_refused_answer_is_marked_in_the_last_frame_and_in_no_other(answers):
    question = np.where(GIVEN, SOLUTION, 0)
    wrong = np.arange(16) == 5
    frames = thinking_frames(picture, GIVEN, question, answers, wrong=wrong, verdict="NO")
    crimson = PAINTS[Mark.WRONG].fill
    assert [crimson in colours_of_cells(frame) for frame in frames] == [False] * 3 + [True]
    assert [fill == crimson for fill in colours_of_cells(frames[-1])] == wrong.tolist()


def test_verdict_is_written_in_the_last_frame_alone_and_moves_nothing(answers):
    question = np.where(GIVEN, SOLUTION, 0)
    said, other, silent = (
        thinking_frames(picture, GIVEN, question, answers, verdict=verdict)
        for verdict in ("accepted", "refused.", "")
    )
    assert len({frame.size for frame in said}) == 1
    differs = [(np.array(a) != np.array(b)).any() for a, b in zip(said, other, strict=True)]
    assert differs == [False, False, False, True]
    assert list(map(colours_of_cells, said)) == list(map(colours_of_cells, silent))


def test_answer_that_keeps_nothing_of_the_question_stands_beside_it(answers):
    """Frames are as wide as both, and the question never leaves its half."""
    frames = thinking_frames(picture, np.zeros(16, bool), SOLUTION, answers)
    halves = [
        np.split(np.array(frame)[: -4 * TEXT_SIZE], [frame.width // 2], axis=1) for frame in frames
    ]
    assert all((left == halves[0][0]).all() for left, _ in halves)
    assert (halves[0][1] == PAPER).all()
    assert all((after != before).any() for (_, before), (_, after) in pairwise(halves))


def test_grid_that_changes_its_size_stays_in_its_corner():
    """As an answer to ARC does: the frames are alike in size, and what is in the corner does not move."""

    def grown(tokens, marks):
        return Image.new("RGB", (20 * int(tokens[0]), 10 * int(tokens[0])), PAINTS[Mark.WRONG].fill)

    frames = thinking_frames(grown, np.ones(1, bool), np.array([2]), np.array([[1], [12], [5]]))
    assert len({frame.size for frame in frames}) == 1
    places = [
        np.argwhere((np.array(frame) == PAINTS[Mark.WRONG].fill).all(axis=-1)) for frame in frames
    ]
    assert len({tuple(place.min(axis=0)) for place in places}) == 1
    assert [tuple(np.ptp(place, axis=0) + 1) for place in places] == [
        (20, 40),
        (10, 20),
        (120, 240),
        (50, 100),
    ]


def test_one_step_is_enough():
    assert len(thinking_frames(picture, GIVEN, SOLUTION, SOLUTION[None])) == 2


def test_gif_holds_every_frame_for_its_time(frames, tmp_path):
    save_gif(frames, tmp_path / "thinking.gif", seconds_a_frame=0.5, hold_last=2)
    with Image.open(tmp_path / "thinking.gif") as gif:
        assert gif.n_frames == len(frames)
        assert gif.size == frames[0].size
        assert gif.info["loop"] == 0
        assert [duration(gif, index) for index in range(len(frames))] == [500, 500, 500, 2000]


def duration(gif, index):
    gif.seek(index)
    return gif.info["duration"]


def test_gif_of_one_frame_is_written(frames, tmp_path):
    save_gif(frames[:1], tmp_path / "still.gif")
    with Image.open(tmp_path / "still.gif") as gif:
        assert gif.n_frames == 1


def test_gif_keeps_the_colours_of_the_cells_in_every_frame(frames, tmp_path):
    save_gif(frames, tmp_path / "thinking.gif")
    with Image.open(tmp_path / "thinking.gif") as gif:
        for index, frame in enumerate(frames):
            gif.seek(index)
            assert colours_of_cells(gif) == colours_of_cells(frame)


def test_all_frames_share_one_palette(frames):
    palettes = [frame.getpalette() for frame in share_palette(frames)]
    assert all(palette == palettes[0] for palette in palettes)


def test_colours_beyond_the_palette_move_only_a_little():
    rng = np.random.default_rng(0)
    pixels = rng.integers(96, 128, (40, 40, 3), dtype=np.uint8)  # many more colours than 256
    pixels[:20] = PAINTS[Mark.CHANGED].fill
    mapped = np.array(share_palette([Image.fromarray(pixels)])[0].convert("RGB"))
    assert (mapped[:20] == PAINTS[Mark.CHANGED].fill).all()
    assert np.abs(mapped.astype(int) - pixels).max() < 24


def test_smaller_frames_get_paper_around_them(tmp_path):
    small, large = Image.new("RGB", (10, 10), (200, 0, 0)), Image.new("RGB", (30, 20), (0, 0, 200))
    padded = share_palette([small, large])[0].convert("RGB")
    assert padded.size == (30, 20)
    assert padded.getpixel((0, 0)) == (255, 255, 255)
    assert padded.getpixel((15, 10)) == (200, 0, 0)


def test_png_is_read_back_as_it_was(frames, tmp_path):
    save_png(frames[1], tmp_path / "board.png")
    with Image.open(tmp_path / "board.png") as image:
        assert image.convert("RGB") == frames[1]


@pytest.mark.parametrize("place", ["missing/board.png", "file/board.png", "folder"])
def test_place_that_cannot_be_written_is_one_clear_line(frames, tmp_path, place):
    (tmp_path / "file").touch()
    (tmp_path / "folder").mkdir()
    for save in (lambda path: save_png(frames[0], path), lambda path: save_gif(frames, path)):
        with pytest.raises(HRMError, match=f"cannot write .*{place}: [A-Z][a-z ]+$"):
            save(tmp_path / place)
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["file", "folder"]


def test_failed_write_leaves_the_old_picture(frames, tmp_path, monkeypatch):
    path = tmp_path / "board.png"
    save_png(frames[0], path)
    before = path.read_bytes()

    def cut_short(image, draft, **options):
        draft.write_bytes(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Image.Image, "save", cut_short)
    with pytest.raises(HRMError, match="No space left on device"):
        save_png(frames[1], path)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("suffix", ["process", "hrm-partial"])
def test_draft_of_a_picture_follows_no_link(frames, tmp_path, suffix):
    name = f".board.png.{os.getpid() if suffix == 'process' else suffix}"
    (tmp_path / "mine").write_text("mine")
    (tmp_path / name).symlink_to(tmp_path / "mine")
    if suffix == "hrm-partial":
        with pytest.raises(HRMError, match="no work folder of hrm; rename or remove it, or"):
            save_png(frames[0], tmp_path / "board.png")
    else:
        save_png(frames[0], tmp_path / "board.png")
    assert (tmp_path / name).is_symlink()
    assert (tmp_path / "mine").read_text() == "mine"


@pytest.mark.parametrize("mask", [0o022, 0o027])
def test_pictures_follow_the_umask(frames, tmp_path, umask, mask):
    umask(mask)
    save_png(frames[0], tmp_path / "board.png")
    save_gif(frames, tmp_path / "board.gif")
    assert {path.stat().st_mode & 0o777 for path in tmp_path.iterdir()} == {0o666 & ~mask}
