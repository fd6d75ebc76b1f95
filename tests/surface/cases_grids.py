"""What `hrm data grids` says."""

import json

from cases import Case


def line(question: str, answer: str) -> str:
    return json.dumps({"input": question, "output": answer})


GRIDS_LINES = {
    "not JSON": "{",
    "a list": "[1]",
    "no output": '{"input": "ab"}',
    "unknown key": '{"input": "ab", "output": "ba", "colour": 1}',
    "a key twice": '{"input": "ab", "input": "ab", "output": "ba"}',
    "rating is a word": '{"input": "ab", "output": "ba", "rating": "x"}',
    "rating is a fraction": '{"input": "ab", "output": "ba", "rating": 1.5}',
    "name is a number": '{"input": "ab", "output": "ba", "name": 7}',
    "name has blanks": '{"input": "ab", "output": "ba", "name": " x "}',
    "grid is a number": '{"input": 7, "output": "ba"}',
    "ragged grid": '{"input": "ab\\na", "output": "ba"}',
    "empty grid": '{"input": "", "output": "ba"}',
    "rows are numbers": '{"input": [1, 2], "output": "ba"}',
    "some are rated": "\n".join([line("ab", "ba")[:-1] + ', "rating": 1}', line("aa", "ba")]),
    "one example": '{"input": "ab", "output": "ba"}',
    "empty": "",
    "repeats": "\n".join([line("ab", "ba"), line("aa", "aa")] * 2),
    "two answers": "\n".join([line("ab", "ba"), line("ab", "bb"), line("aa", "aa")]),
}
GRIDS_CSV = {
    "empty": "",
    "unknown column": "input,output,colour\nab,ba,1\n",
    "no output column": "input\nab\n",
    "a column twice": "input,input,output\nab,ab,ba\n",
    "three columns in a line": "input,output\nab,ba,bb\n",
    "open quote": 'input,output\n"ab,ba\n',
    "rating is a word": "input,output,rating\nab,ba,x\n",
    "header alone": "input,output\n",
    "not UTF-8": b"input,output\n\xff,a\n",
    "built": "input,output,name,rating\nab,ba,x,1\naa,aa,y,2\nbb,bb,x,3\n",
}
GRIDS_OPTIONS = {
    "two tests": "--test g.jsonl --test-share 0.2",
    "share is no number": "--test-share nan",
    "share is one": "--test-share 1",
    "max size too small": "--max-size 1 2",
    "too many views": "--augment 8",
    "too many views of a wide canvas": "--max-size 2 4 --augment 7",
    "canvas too large": "--max-size 9999 9999",
    "max size": "--max-size 2 4 --augment 3",
    "missing test": "--test nope.jsonl",
    "without a test": "--test-share 0",
    "tested on what is trained": "--test g.jsonl",
    "JSON": "--json",
}
SEVERAL = "\n".join(line(grid, "ab\nba") for grid in ("ab\nba", "aa\nbb", "bb\naa"))
CASES = {
    f"grids jsonl, {name}": Case("data grids out g.jsonl", files={"g.jsonl": text})
    for name, text in GRIDS_LINES.items()
}
CASES |= {
    f"grids csv, {name}": Case("data grids out g.csv", files={"g.csv": text})
    for name, text in GRIDS_CSV.items()
}
CASES |= {
    f"grids {name}": Case(f"data grids out g.jsonl {more}", files={"g.jsonl": SEVERAL})
    for name, more in GRIDS_OPTIONS.items()
}
FOLDER = {
    "g/a.input.txt": "ab\n",
    "g/a.output.txt": "ba\n",
    "g/b.input.txt": "aa\n",
    "g/b.output.txt": "aa\n",
}
LETTERS = "".join(map(chr, range(0x4E00, 0x4E00 + 300)))
CASES |= {
    "grids missing": Case("data grids out nope"),
    "grids of another kind": Case("data grids out g.txt", files={"g.txt": "ab"}),
    "grids folder": Case("data grids out g", files=FOLDER),
    "grids folder, no output": Case("data grids out g", files={"g/a.input.txt": "ab"}),
    "grids folder, no grid": Case("data grids out g", files={**FOLDER, "g/c.md": "x"}),
    "grids folder, no pair": Case("data grids out g", files={**FOLDER, "g/c.txt": "x"}),
    "grids control character": Case(
        "data grids out g.jsonl", files={"g.jsonl": "\n".join([line("a\a", "b"), line("a", "b")])}
    ),
    "grids folder, too deep": Case("data grids out g", files={"g/x/y/a.input.txt": "ab"}),
    "grids folder, empty": Case("data grids out g", files={"g/.hidden": ""}),
    "grids folder, named": Case(
        "data grids out g",
        files={f"g/{puzzle}/{name[2:]}": text for puzzle in "xy" for name, text in FOLDER.items()},
    ),
    "grids too many characters": Case(
        "data grids out g.jsonl",
        files={"g.jsonl": "\n".join([line(LETTERS, "a"), line("a", "b")])},
    ),
    "grids names and characters only in the test": Case(
        "data grids out g.csv --test t.csv",
        files={
            "g.csv": "input,output,name\nab,ba,x\naa,bb,x\n",
            "t.csv": "input,output,name\nac,ca,y\n",
        },
    ),
    "grids view named as another": Case(
        "data grids out g.csv --augment 3 --test-share 0",
        files={"g.csv": "input,output,name\nab,ba,x\naa,bb,x_t1\nab,aa,x_t2\nba,bb,x_t3\n"},
    ),
    "grids out is used": Case("data grids out g.jsonl", files={"g.jsonl": SEVERAL, "out/a": ""}),
}
