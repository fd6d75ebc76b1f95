"""Reads a maze from a PNG of one pixel a cell, or of any whole number of pixels a cell.

A pixel means what the nearest colour of `COLOURS` means: black or dark is a wall, white or light an open cell, green S,
red or magenta G. A cell is what most of its pixels are, so letters on S and G do no harm. How many pixels a cell has is
told from the squares of S and G.

Shapes: P pixels a side, S = size · size cells.
"""

import math
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

from hrm_core.errors import PuzzleError
from hrm_core.messages import cell_name, first_line
from hrm_tasks.maze.board import (
    GOAL,
    MAX_SIZE,
    MIN_SIZE,
    NAMES,
    OPEN,
    PATH,
    START,
    VOCAB_SIZE,
    WALL,
    BoolArray,
    ByteArray,
)
from hrm_tasks.maze.picture import OWN_PAINTS
from hrm_tasks.maze.text import question_fault

COLOURS = [
    *((token, OWN_PAINTS[token].fill) for token in (WALL, OPEN, START, GOAL, PATH)),
    (WALL, (0, 0, 0)),
    (OPEN, (255, 255, 255)),
    (START, (0, 255, 0)),
    (START, (0, 128, 0)),
    (GOAL, (255, 0, 0)),
    (PATH, (0, 0, 255)),
]
MAX_DISTANCE = (
    100  # from the nearest colour, of 442 from black to white; a pixel farther off means nothing
)
MAX_PIXELS = 1 << 24  # 32 pixels a cell on the largest board
EIGHT_BITS = (
    "1",
    "L",
    "LA",
    "P",
    "PA",
    "RGB",
    "RGBA",
)  # modes of Pillow that a PNG of at most 8 bits a channel opens in
MIN_SHARE = 0.5  # of a cell's pixels that must mean the same


def read_png(path: Path) -> ByteArray:
    """Read the maze of a picture. Returns: (S,) question tokens.

    Raises: PuzzleError naming the file and what it is not: a PNG of at most `MAX_PIXELS`, square, opaque, of known
        colours, cut into square cells, a maze with one S, one G and a way between them.
    """
    pixels = _tokens_of_colours(_opaque_pixels(path), path)
    cell = _pixels_a_cell(pixels, path)
    size = len(pixels) // cell
    if not MIN_SIZE <= size <= MAX_SIZE:
        raise PuzzleError(
            f"{path}: {size}x{size} cells of {cell} pixels; expected {MIN_SIZE} to {MAX_SIZE} rows"
        )
    maze = _most_frequent(pixels.reshape(size, cell, size, cell), path)
    for place in np.flatnonzero(maze == PATH)[:1]:
        raise PuzzleError(
            f"{path}: the colour of a path at {cell_name(place, size)}; a question shows no path"
        )
    if fault := question_fault(maze, size):
        raise PuzzleError(f"{path}: {fault}")
    return maze


def _opaque_pixels(path: Path) -> npt.NDArray[np.uint8]:
    """The pixels of a square PNG. Returns: (P, P, 3)."""
    try:
        with _only_bombs_are_errors(), Image.open(path, formats=["PNG"]) as image:
            width, height = image.size
            if width != height or width * height > MAX_PIXELS:
                limit = math.isqrt(MAX_PIXELS)
                raise PuzzleError(
                    f"{path}: {width}x{height} pixels; expected a square of at most {limit}x{limit}, all of it maze"
                )
            if image.mode not in EIGHT_BITS:
                raise PuzzleError(
                    f"{path}: a PNG of mode {image.mode}; save it in colour with 8 bits a channel"
                )
            pixels = np.asarray(image.convert("RGBA"))
    except PuzzleError:
        raise
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise PuzzleError(f"{path}: far too many pixels; expected at most {MAX_PIXELS}") from error
    except Exception as error:  # a damaged file leads Pillow's decoder to errors of any kind
        raise PuzzleError(
            f"{path} cannot be read as PNG ({first_line(error)}); save the maze as PNG again"
        ) from error
    if (pixels[:, :, 3] < 255).any():
        row, column = np.argwhere(pixels[:, :, 3] < 255)[0].tolist()
        raise PuzzleError(
            f"{path}: the pixel at row {row + 1}, column {column + 1} is transparent; save the picture on white without alpha"
        )
    return pixels[:, :, :3]


@contextmanager
def _only_bombs_are_errors() -> Iterator[None]:
    """Make Pillow's warning of too many pixels an error, and keep what else it says of odd files to itself."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        yield


def _tokens_of_colours(pixels: npt.NDArray[np.uint8], path: Path) -> ByteArray:
    """What each pixel means, 0 for nothing. Shapes: (P, P, 3) -> (P, P)."""
    packed = pixels.astype(np.uint32) @ np.array([1 << 16, 1 << 8, 1], dtype=np.uint32)
    colours, inverse = np.unique(packed, return_inverse=True)
    channels = colours[:, None].astype(np.int64) >> np.array([16, 8, 0]) & 0xFF
    known = np.array([colour for _, colour in COLOURS])
    squares = np.stack(
        [((channels - colour) ** 2).sum(axis=1) for colour in known]
    )  # (known colours, colours)
    tokens = np.array([token for token, _ in COLOURS], dtype=np.uint8)[squares.argmin(axis=0)]
    tokens[squares.min(axis=0) > MAX_DISTANCE**2] = 0
    meanings: ByteArray = tokens[inverse.reshape(packed.shape)]
    return meanings


def _pixels_a_cell(tokens: ByteArray, path: Path) -> int:
    """The largest square cell on whose edges the picture, S and G begin and end. Shapes: (P, P)."""
    edges, sides = [len(tokens)], [0]
    for token, colour in ((START, "green"), (GOAL, "red or magenta")):
        if not (tokens == token).any():
            raise PuzzleError(f"{path}: no {NAMES[token]}; expected one cell in {colour}")
        (left, right), (top, bottom) = (
            _bounds((tokens == token).any(axis=axis)) for axis in (0, 1)
        )
        edges += [left, right, top, bottom]
        if (
            bottom - top == right - left
            and (tokens[top:bottom, left:right] == token).mean() > MIN_SHARE
        ):
            sides.append(bottom - top)
    cell = math.gcd(*edges)
    if len(tokens) // cell > MAX_SIZE or max(sides) > cell:
        raise PuzzleError(
            f"{path}: S and G are not squares of the same whole number of pixels on a picture of {len(tokens)}x{len(tokens)}; "
            "save it with as many pixels for each cell, without smoothing or a frame"
        )
    return cell


def _bounds(line: BoolArray) -> tuple[int, int]:
    """Where the True of a line begin, and where they have ended."""
    places = np.flatnonzero(line)
    return int(places[0]), int(places[-1]) + 1


def _most_frequent(cells: ByteArray, path: Path) -> ByteArray:
    """What most pixels of each cell mean. Shapes: (size, pixels, size, pixels) -> (S,)."""
    size, per_cell = len(cells), cells.shape[1] ** 2
    counts = np.stack(
        [(cells == token).sum(axis=(1, 3)) for token in range(1, VOCAB_SIZE)]
    )  # (tokens, size, size)
    for place in np.flatnonzero(counts.max(axis=0) <= MIN_SHARE * per_cell)[:1]:
        expected = "black for a wall, white for an open cell, green for S, red for G"
        raise PuzzleError(
            f"{path}: no colour of a maze at {cell_name(place, size)}; expected {expected}"
        )
    maze: ByteArray = (counts.argmax(axis=0).astype(np.uint8) + np.uint8(1)).reshape(-1)
    return maze
