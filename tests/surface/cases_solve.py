"""What `hrm solve` says."""

import io
import json
import math
import os

from cases import Case, flipped, header_with, removed, shortened
from PIL import Image

ON_CPU = "--device cpu --dtype float32"
SUDOKU = "{kept}/sudoku.safetensors"
MAZE = "{kept}/maze.safetensors"
GRIDS = "{kept}/grids.safetensors --data {kept}/data/grids"
ARC = "{kept}/arc --data {kept}/data/arc"
BOARD = "'1... ..2. .3.. ...4'"
SHIPPED = "{repo}/models/sudoku-9x9.safetensors"


def solve(model: str, *words: str, **more: object) -> Case:
    return Case(f"solve {model} {' '.join(words)} {ON_CPU}", **more)


SUDOKU_TEXTS = {
    "too few cells": "." * 15,
    "too many cells": "." * 17,
    "given twice in a row": "11" + "." * 14,
    "given twice in a column": "1...1" + "." * 11,
    "given twice in a box": "1....1" + "." * 10,
    "digit too large": "5" + "." * 15,
    "unknown character": "x" + "." * 15,
    "empty": "",
    "no file": "nope.txt",
    "three rows": "1...\n..2.\n.3..\n",
    "a short row": "1...\n..2\n.3..\n...4\n",
    "a row too many": "1...\n..2.\n.3..\n...4\n....\n",
}
MAZE_TEXTS = {
    "too few cells": "S.G#",
    "unknown character": "x" + "." * 35,
    "no goal": "S" + "." * 35,
    "two starts": "SS" + "." * 33 + "G",
    "no way": "S#....##" + "." * 27 + "G",
    "another size": "S" + "." * 14 + "G",
    "ragged": "S.....\n......\n.....\n......\n......\n.....G\n",
    "five rows": "S.....\n......\n......\n......\n.....G\n",
    "empty": "",
    "no file": "nope.txt",
}
ARC_TEXTS = {
    "no JSON": "[[1, 2]",
    "ragged": "[[1, 2], [1]]",
    "too large": "[[1, 2, 3, 4, 5]]",
    "no colour": "[[10]]",
    "empty": "",
    "digits": "12/34",
    "no digits": "ab",
    "no file": "nope.json",
}
GRIDS_TEXTS = {
    "unknown character": "abxb",
    "too wide": "ababa",
    "too high": "a/b/a",
    "ragged": "ab/a",
    "empty": "",
}


def stdin(model: str, text: str, words: str = "") -> Case:
    return solve(model, "-", words, stdin=text)


CASES = {f"solve sudoku, {name}": stdin(SUDOKU, text) for name, text in SUDOKU_TEXTS.items()}
CASES |= {f"solve maze, {name}": stdin(MAZE, text) for name, text in MAZE_TEXTS.items()}
CASES |= {
    f"solve arc, {name}": stdin(ARC, text, "--identifier blank") for name, text in ARC_TEXTS.items()
}
CASES |= {
    f"solve grids, {name}": stdin(GRIDS, text, "--identifier mirror")
    for name, text in GRIDS_TEXTS.items()
}
CASES |= {
    f"solve argument, {name}": solve(SUDOKU, f"'{text}'")
    for name, text in SUDOKU_TEXTS.items()
    if name in ("too few cells", "empty", "no file", "unknown character")
}
TASK = {"train": [{"input": [[1]], "output": [[1]]}], "test": [{"input": [[1, 2]]}]}
CASES |= {
    "solve sudoku": solve(SUDOKU, BOARD),
    "solve two": solve(SUDOKU, BOARD, "-", stdin="1" + 15 * "."),
    "solve with votes": solve(SUDOKU, BOARD, "--votes 3 --halt fixed"),
    "solve in torch": solve(SUDOKU, BOARD, "--backend torch", needs=("torch",)),
    "solve JSON": solve(SUDOKU, BOARD, "--json", masked=True),
    "solve pictures": solve(SUDOKU, BOARD, "--gif a.gif --png a.png"),
    "solve shipped": solve(
        SHIPPED,
        "'53..7.... 6..195... .98....6. 8...6...3 4..8.3..1",
        "7...2...6 .6....28. ...419..5 ....8..79'",
    ),
    "solve an impossible board": solve(SHIPPED, "12345678." + "." * 8 + "9" + "." * 63),
    "solve gif of another suffix": solve(SUDOKU, BOARD, "--gif a.png"),
    "solve png in no folder": solve(SUDOKU, BOARD, "--png nope/a.png"),
    "solve digits": solve(SUDOKU, BOARD, "--png a.png --digits"),
    "solve digits without a picture": solve(ARC, "'[[1]]' --identifier blank --digits"),
    "solve no votes": solve(SUDOKU, BOARD, "--votes 0"),
    "solve unknown identifier": solve(SUDOKU, BOARD, "--identifier mirror"),
    "solve blank identifier": solve(SUDOKU, BOARD, "--identifier blank"),
    "solve no model": solve("nope", BOARD),
    "solve a folder": solve("{kept}/data", BOARD),
    "solve no safetensors": solve("a.safetensors", BOARD, files={"a.safetensors": "x"}),
    "solve damaged model": solve(
        "m.safetensors",
        BOARD,
        copies={"m.safetensors": "sudoku.safetensors"},
        edits={"m.safetensors": flipped},
    ),
    "solve short model": solve(
        "m.safetensors",
        BOARD,
        copies={"m.safetensors": "sudoku.safetensors"},
        edits={"m.safetensors": shortened},
    ),
    "solve run without checkpoints": solve(
        "run", BOARD, copies={"run": "run"}, edits={"run/checkpoints": removed}
    ),
    "solve other data": solve("{kept}/run", BOARD, "--data {kept}/data/sudoku-csv"),
    "solve a binary file": solve(SUDOKU, "a.txt", files={"a.txt": b"\xff\xfe\x00"}),
    "solve a folder of puzzles": solve(SUDOKU, "."),
    "solve maze": solve(MAZE, "{kept}/sources/maze.txt"),
    "solve maze with votes": solve(MAZE, "{kept}/sources/maze.txt --votes 8"),
    "solve maze, no picture": solve(MAZE, "a.png", files={"a.png": "x"}),
    "solve maze, missing picture": solve(MAZE, "nope.png"),
    "solve sudoku, picture": solve(SUDOKU, "a.png", files={"a.png": "x"}),
    "solve arc": solve(ARC, "{kept}/sources/arc/evaluation/bb.json"),
    "solve arc, trained": solve(ARC, "{kept}/sources/arc/training/aa.json --votes 2"),
    "solve arc, blank": solve(ARC, "'[[1]]' --identifier blank"),
    "solve arc, pictures": solve(
        ARC, "{kept}/sources/arc/evaluation/bb.json --png a.png --gif a.gif --digits"
    ),
    "solve arc, not said": solve(ARC, "'[[1]]'"),
    "solve arc, unknown": solve(ARC, "'[[1]]' --identifier cc"),
    "solve arc, unknown file": solve(ARC, "cc.json", files={"cc.json": TASK}),
    "solve arc, no test": solve(ARC, "bb.json", files={"bb.json": {**TASK, "test": []}}),
    "solve arc, no input": solve(ARC, "bb.json", files={"bb.json": {**TASK, "test": [{}]}}),
    "solve arc, damaged file": solve(ARC, "bb.json", files={"bb.json": "{"}),
    "solve arc, no names": solve("{kept}/arc", "'[[1]]' --identifier bb"),
    "solve arc, wrong names": solve("{kept}/arc --data {kept}/data/grids", "'[[1]]'"),
    "solve grids": solve(GRIDS, "abab/bbaa --identifier mirror"),
    "solve grids, votes": solve(GRIDS, "abab/bbaa --identifier mirror --votes 2"),
    "solve grids, not said": solve(GRIDS, "abab"),
    "solve grids, unknown": solve(GRIDS, "abab --identifier turning"),
}


def about(text: str) -> dict[str, object]:
    return {"__metadata__": {"hrm": text}}


def ours(**more: object) -> dict[str, object]:
    return about(json.dumps({"format": "hrm-1", "task": "sudoku", **more}))


METADATA = {
    "without metadata": lambda found: {**found, "__metadata__": {"other": "x"}},
    "of damaged metadata": lambda found: {**found, **about("{")},
    "of empty metadata": lambda found: {**found, **about("{}")},
    "of a damaged config": lambda found: {**found, **ours(config={})},
    "of odd metadata": lambda found: {**found, **ours(colour=1)},
    "of another format": lambda found: {**found, **about('{"format": "hrm-9", "config": {}}')},
}
CASES |= {
    f"solve a model {name}": solve(
        "m.safetensors",
        BOARD,
        copies={"m.safetensors": "sudoku.safetensors"},
        edits={"m.safetensors": header_with(change)},
    )
    for name, change in METADATA.items()
}
CASES |= {
    "solve a model of no task": solve(
        "m.safetensors",
        BOARD,
        before="convert {kept}/sudoku.safetensors m.safetensors --vocab-size 9 --seq-len 36",
    ),
    "solve onto a pipe": solve(SUDOKU, BOARD, "--png a.png", edits={"a.png": os.mkfifo}),
}

EXAMPLE = "#.....#####.#.S.#.#.###G#.....######"
COLOURS = {
    "#": (0, 0, 0),
    ".": (255, 255, 255),
    "S": (0, 255, 0),
    "G": (255, 0, 0),
    "o": (0, 0, 255),
}


COLOURS["!"] = (128, 128, 128)


def picture(
    cells: str,
    mode: str = "RGB",
    pixels: int = 4,
    size: tuple[int, int] | None = None,
    clear: bool = False,
) -> bytes:
    """Draw a maze as PNG."""
    side = math.isqrt(len(cells))
    image = Image.new("RGB", (side, side))
    image.putdata([COLOURS.get(cell, (90, 140, 90)) for cell in cells])
    image = image.resize(size or (side * pixels, side * pixels), Image.Resampling.NEAREST).convert(
        mode
    )
    if clear:
        image.putalpha(90)
    content = io.BytesIO()
    image.save(content, "PNG")
    return content.getvalue()


PICTURES = {
    "good": picture(EXAMPLE),
    "another size": picture("S..G............"),
    "not square": picture(EXAMPLE, size=(24, 30)),
    "no start": picture(EXAMPLE.replace("S", ".")),
    "no goal": picture(EXAMPLE.replace("G", ".")),
    "two goals": picture(EXAMPLE.replace("#", "G", 1)),
    "a path": picture(EXAMPLE.replace(".", "o", 1)),
    "an unknown colour": picture(EXAMPLE.replace(".", "?", 1)),
    "no way": picture(EXAMPLE.replace(".....#####.", "....######.")),
    "no colour": picture(EXAMPLE.replace(".", "!", 1)),
    "smoothed": picture(EXAMPLE, size=(25, 25)),
    "transparent": picture(EXAMPLE, "RGBA", clear=True),
    "16 bits": picture(EXAMPLE, "I;16"),
    "too small": picture("SG..", pixels=2),
    "cut short": picture(EXAMPLE)[:60],
}
CASES |= {
    f"solve maze, picture, {name}": solve(MAZE, "m.png", files={"m.png": content})
    for name, content in PICTURES.items()
}
