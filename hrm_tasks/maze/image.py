"""Read a maze from a PNG of one pixel a cell, or of any whole number of pixels a cell.

A pixel has the token of the nearest colour of `COLOURS`: black or dark is a wall, white or light an
open cell, green S, red or magenta G. A cell has the token of most of its pixels, so letters on S and
G do no harm. The squares of S and G tell the number of pixels a cell.

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
# a pixel farther than this from every colour has no token; black and white are 442 apart
MAX_DISTANCE = 100
JPEG = b"\xff\xd8\xff"  # the bytes that every such file begins with
MAX_PIXELS = 1 << 24  # 32 pixels a cell on the largest board
# modes of Pillow for a PNG of at most 8 bits a channel
EIGHT_BITS = ("1", "L", "LA", "P", "PA", "RGB", "RGBA")
MIN_SHARE = 0.5  # of a cell's pixels that must have the same token


def read_png(path: Path) -> ByteArray:
    """Read the maze of a picture. Returns: (S,) question tokens.

    Raises: PuzzleError naming the file and the fault, unless it is a PNG of at most `MAX_PIXELS`,
        square, opaque, of known colours and cut into square cells, which shows a maze with one S, one G
        and a path between them.
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


def check_no_jpeg(path: Path) -> None:
    """Refuse a JPEG, whatever it is called. Raises: PuzzleError; OSError if it cannot be read."""
    with path.open("rb") as file:
        if file.read(len(JPEG)) == JPEG:
            raise PuzzleError(f"{path} is a JPEG, which blurs the cells; save the maze as PNG")


def _opaque_pixels(path: Path) -> npt.NDArray[np.uint8]:
    """Read the pixels of a square PNG: (P, P, 3)."""
    try:
        with _only_bombs_are_errors(), Image.open(path, formats=["PNG"]) as image:
            _check_image(image, path)
            pixels = np.asarray(image.convert("RGBA"))
    except PuzzleError:
        raise
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise PuzzleError(f"{path}: far too many pixels; expected at most {MAX_PIXELS}") from error
    except Exception as error:  # a damaged file leads Pillow's decoder to errors of any kind
        raise PuzzleError(
            f"{path} cannot be read as PNG ({first_line(error)}); save the maze as PNG again"
        ) from error
    is_transparent = pixels[:, :, 3] < 255
    if is_transparent.any():
        row, column = np.argwhere(is_transparent)[0].tolist()
        raise PuzzleError(
            f"{path}: the pixel at row {row + 1}, column {column + 1} is transparent; "
            "save the picture on white without alpha"
        )
    return pixels[:, :, :3]


def _check_image(image: Image.Image, path: Path) -> None:
    """Refuse a picture that is not square, too large or of more than 8 bits a channel."""
    width, height = image.size
    if width != height or width * height > MAX_PIXELS:
        limit = math.isqrt(MAX_PIXELS)
        raise PuzzleError(
            f"{path}: {width}x{height} pixels; "
            f"expected a square of at most {limit}x{limit}, all of it maze"
        )
    if image.mode not in EIGHT_BITS:
        raise PuzzleError(
            f"{path}: a PNG of mode {image.mode}; save it in colour with 8 bits a channel"
        )


@contextmanager
def _only_bombs_are_errors() -> Iterator[None]:
    """Raise Pillow's warning of too many pixels as an error and silence its other warnings."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        yield


def _tokens_of_colours(pixels: npt.NDArray[np.uint8], path: Path) -> ByteArray:
    """Return the token of each pixel, 0 for an unknown colour. Shapes: (P, P, 3) -> (P, P)."""
    channel_units = np.array([1 << 16, 1 << 8, 1], dtype=np.uint32)
    packed = pixels.astype(np.uint32) @ channel_units
    found, inverse = np.unique(packed, return_inverse=True)
    found = found.astype(np.int64)
    channels = found[:, None] >> np.array([16, 8, 0])
    channels &= 0xFF
    distances = []  # squared, of each known colour from the found ones
    for _, colour in COLOURS:
        differences = channels - np.array(colour)
        distances.append((differences**2).sum(axis=1))
    squares = np.stack(distances)
    known = np.array([token for token, _ in COLOURS], dtype=np.uint8)
    tokens = known[squares.argmin(axis=0)]
    tokens[squares.min(axis=0) > MAX_DISTANCE**2] = 0
    token_of_pixel: ByteArray = tokens[inverse.reshape(packed.shape)]
    return token_of_pixel


def _pixels_a_cell(tokens: ByteArray, path: Path) -> int:
    """Find the largest square cell on whose edges the picture, S and G begin and end.

    Shapes: (P, P).
    """
    num_pixels = len(tokens)
    edges = [num_pixels]
    sides = [0]
    for token, colour in ((START, "green"), (GOAL, "red or magenta")):
        is_token = tokens == token
        if not is_token.any():
            raise PuzzleError(f"{path}: no {NAMES[token]}; expected one cell in {colour}")
        left, right = _bounds(is_token.any(axis=0))
        top, bottom = _bounds(is_token.any(axis=1))
        edges += [left, right, top, bottom]
        is_square = bottom - top == right - left
        if is_square and is_token[top:bottom, left:right].mean() > MIN_SHARE:
            sides.append(bottom - top)
    cell = math.gcd(*edges)
    if num_pixels // cell > MAX_SIZE or max(sides) > cell:
        raise PuzzleError(
            f"{path}: S and G are not squares of the same whole number of pixels "
            f"on a picture of {num_pixels}x{num_pixels}; "
            "save it with as many pixels for each cell, without smoothing or a frame"
        )
    return cell


def _bounds(line: BoolArray) -> tuple[int, int]:
    """Return the index of the first True of a line, and the index after the last."""
    places = np.flatnonzero(line)
    return int(places[0]), int(places[-1]) + 1


def _most_frequent(cells: ByteArray, path: Path) -> ByteArray:
    """Return the token of most pixels of each cell. Shapes: (size, pixels, size, pixels) -> (S,)."""
    size, cell = cells.shape[:2]
    of_each_token = [(cells == token).sum(axis=(1, 3)) for token in range(1, VOCAB_SIZE)]
    counts = np.stack(of_each_token)  # (tokens, size, size)
    is_unclear = counts.max(axis=0) <= MIN_SHARE * cell**2
    for place in np.flatnonzero(is_unclear)[:1]:
        raise PuzzleError(
            f"{path}: no colour of a maze at {cell_name(place, size)}; "
            "expected black for a wall, white for an open cell, green for S, red for G"
        )
    maze: ByteArray = counts.argmax(axis=0).astype(np.uint8) + np.uint8(1)
    return maze.reshape(-1)
