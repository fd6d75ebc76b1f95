import zlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from hrm_core.errors import PuzzleError
from hrm_core.pictures.animations import save_png
from hrm_core.pictures.grids import Mark
from hrm_tasks.maze.generator import MazeGenerator
from hrm_tasks.maze.image import read_png
from hrm_tasks.maze.task import Maze

BLACK, WHITE, GREEN, RED, BLUE = (0, 0, 0), (255, 255, 255), (0, 255, 0), (255, 0, 0), (0, 0, 255)
COLOUR_OF = {"#": BLACK, ".": WHITE, "S": GREEN, "G": RED, "o": BLUE, "y": (255, 255, 0)}
SMALL = "S.#\n#.#\n#.G"
TOKENS = [3, 2, 1, 1, 2, 1, 1, 2, 4]
FUZZ = settings(
    deadline=None,
    derandomize=True,
    max_examples=200,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "maze.png"


def painted(drawing: str = SMALL, cell: int = 1) -> Image.Image:
    rows = [[COLOUR_OF[character] for character in row] for row in drawing.splitlines()]
    return Image.fromarray(np.array(rows, np.uint8).repeat(cell, axis=0).repeat(cell, axis=1))


def refusal(path: Path, image: Image.Image) -> str:
    image.save(path)
    with pytest.raises(PuzzleError) as refused:
        read_png(path)
    message = str(refused.value)
    assert "\n" not in message
    return message.removeprefix(f"{path}: ")


def read_or_refuse(path: Path) -> np.ndarray | str:
    try:
        return read_png(path)
    except PuzzleError as error:
        return str(error)


@pytest.mark.parametrize("cell", [1, 2, 3, 7, 8, 20, 100])
@pytest.mark.parametrize("mode", ["RGB", "RGBA", "P"])
def test_any_whole_number_of_pixels_a_cell_is_read(path: Path, cell: int, mode: str) -> None:
    painted(cell=cell).convert(mode).save(path)
    np.testing.assert_array_equal(read_png(path), TOKENS)


@pytest.mark.parametrize("size", [5, 10, 11])
@pytest.mark.parametrize("cell", [1, 2, 5, 8, 9, 16, 24, 31, 48])
def test_our_own_picture_of_a_question_reads_back(path: Path, size: int, cell: int) -> None:
    task = Maze(size)
    for maze in MazeGenerator(size, np.random.default_rng(cell), min_path=2).generate(3).inputs:
        save_png(task.picture(maze, np.where(task.given(maze), Mark.GIVEN, Mark.PLAIN), cell), path)
        np.testing.assert_array_equal(task.read_file(path), [maze])


def test_colours_close_to_the_known_ones_are_read(path: Path) -> None:
    noisy = np.asarray(painted(cell=6)).astype(int) + np.random.default_rng(0).integers(
        -40, 41, size=(18, 18, 3)
    )
    Image.fromarray(noisy.clip(0, 255).astype(np.uint8)).save(path)
    np.testing.assert_array_equal(read_png(path), TOKENS)


def test_maze_of_another_size_than_the_model_is_refused(path: Path) -> None:
    painted(cell=4).save(path)
    with pytest.raises(PuzzleError, match="a maze of 3x3 cells; expected 10x10"):
        Maze(10).read_file(path)


@pytest.mark.parametrize(
    ("drawing", "message"),
    [
        ("..#\n#.#\n#.G", "no S; expected one cell in green"),
        ("S.#\n#.#\n#..", "no G; expected one cell in red or magenta"),
        ("S.#\n#.#\nS.G", "2 S, at row 1, column 1 and row 3, column 1; expected one S and one G"),
        ("S.#\n###\n#.G", "no way from S at row 1, column 1 to G at row 3, column 3"),
        ("So#\n#.#\n#.G", "the colour of a path at row 1, column 2; a question shows no path"),
        ("Sy#\n#.#\n#.G", "no colour of a maze at row 1, column 2; expected black for a wall"),
    ],
)
@pytest.mark.parametrize("cell", [1, 6])
def test_bad_maze_is_named_with_its_place(
    path: Path, drawing: str, message: str, cell: int
) -> None:
    assert message in refusal(path, painted(drawing, cell))


def test_transparency_is_refused_with_its_place(path: Path) -> None:
    image = painted(cell=4).convert("RGBA")
    image.putpixel((5, 2), (255, 255, 255, 254))
    assert (
        refusal(path, image)
        == "the pixel at row 3, column 6 is transparent; save the picture on white without alpha"
    )
    palette = painted().convert("P", palette=Image.Palette.ADAPTIVE)
    palette.info["transparency"] = palette.getpixel((0, 0))
    assert "row 1, column 1 is transparent" in refusal(path, palette)


@pytest.mark.parametrize("size", [(9, 8), (1, 300), (4097, 4097)])
def test_picture_that_is_oblong_or_too_large_is_refused(path: Path, size: tuple[int, int]) -> None:
    found = refusal(path, Image.new("L", size, 255))
    assert (
        found
        == f"{size[0]}x{size[1]} pixels; expected a square of at most 4096x4096, all of it maze"
    )


def test_cells_of_uneven_pixels_are_refused(path: Path) -> None:
    uneven = painted(cell=100).resize((401, 401), Image.Resampling.NEAREST)
    assert (
        "S and G are not squares of the same whole number of pixels on a picture of 401x401"
        in refusal(path, uneven)
    )
    assert "whole number of pixels on a picture of 20x20" in refusal(
        path, painted(cell=7).crop((0, 0, 20, 20))
    )
    assert "whole number of pixels on a picture of 22x22" in refusal(
        path, painted(cell=7).resize((22, 22), Image.Resampling.NEAREST)
    )
    assert "no way" in refusal(
        path, painted("S.#\n###\n#.G").resize((30, 30), Image.Resampling.NEAREST)
    )
    frame = Image.new("RGB", (36, 36), WHITE)
    frame.paste(painted(cell=10), (3, 3))
    assert (
        "on a picture of 36x36; save it with as many pixels for each cell, without smoothing or a frame"
        in refusal(path, frame)
    )


def test_other_depths_and_plain_grey_are_refused(path: Path) -> None:
    deep = Image.fromarray(np.zeros((9, 9), np.uint16))
    assert "a PNG of mode I;16" in refusal(path, deep)
    assert refusal(path, Image.new("L", (9, 9), 0)) == "no S; expected one cell in green"
    assert refusal(path, Image.new("1", (9, 9), 1)) == "no S; expected one cell in green"


def test_file_that_is_no_png_is_refused(path: Path) -> None:
    for content in (b"", b"S #", b"\x89PNG\r\n\x1a\n"):
        path.write_bytes(content)
        with pytest.raises(PuzzleError, match="cannot be read as PNG"):
            read_png(path)
    painted().save(path, format="GIF")
    with pytest.raises(PuzzleError, match="cannot be read as PNG"):
        read_png(path)
    path.unlink()
    with pytest.raises(
        PuzzleError, match=r"maze\.png cannot be read as PNG \(\[Errno 2\] No such file"
    ):
        read_png(path)


@pytest.mark.parametrize("name", ["maze.jpg", "maze.png", "maze"])
def test_jpeg_is_refused_with_its_fault(tmp_path: Path, name: str) -> None:
    file = tmp_path / name
    Image.new("RGB", (30, 30), "white").save(file, format="JPEG")
    with pytest.raises(PuzzleError, match="is a JPEG, which blurs the cells; save the maze as PNG"):
        Maze(10).read_file(file)


def test_picture_with_a_bomb_of_pixels_is_refused_before_it_is_unpacked(path: Path) -> None:
    Image.new("1", (1, 1)).save(path)
    data = bytearray(path.read_bytes())
    for width in (10_000, 100_000):  # Pillow warns of the first and refuses the second
        data[16:24] = width.to_bytes(4, "big") * 2
        data[29:33] = zlib.crc32(bytes(data[12:29])).to_bytes(4, "big")
        path.write_bytes(data)
        with pytest.raises(PuzzleError, match="pixels"):
            read_png(path)


@FUZZ
@given(cut=st.integers(0, 400), place=st.integers(0, 400), content=st.binary(max_size=8))
def test_damaged_file_is_read_or_refused_in_one_line(
    path: Path, cut: int, place: int, content: bytes
) -> None:
    painted(cell=3).save(path)
    data = path.read_bytes()
    path.write_bytes(
        (data[:place] + content + data[place + len(content) :])[: max(1, len(data) - cut)]
    )
    outcome = read_or_refuse(path)
    assert len(outcome.splitlines()) == 1 if isinstance(outcome, str) else outcome.min() >= 1


@FUZZ
@given(
    cells=st.lists(st.sampled_from([*COLOUR_OF.values()]), min_size=16, max_size=16),
    cell=st.integers(1, 4),
)
def test_any_colours_are_read_or_refused_in_one_line(
    path: Path, cells: list[tuple[int, int, int]], cell: int
) -> None:
    pixels = np.array(cells, np.uint8).reshape(4, 4, 3).repeat(cell, axis=0).repeat(cell, axis=1)
    Image.fromarray(pixels).save(path)
    outcome = read_or_refuse(path)
    assert len(outcome.splitlines()) == 1 if isinstance(outcome, str) else outcome.min() >= 1
