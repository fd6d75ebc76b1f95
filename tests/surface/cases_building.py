"""What `hrm data sudoku` and `hrm data maze` say."""

from cases import Case

HEADER = "source,question,answer,rating"
LINE = "mine,12..............,1234341221434321,7"


SIX = f"mine,{36 * '.'},123456456123231564564231312645645312,1"


def csv(*lines: str) -> str:
    return "\n".join([HEADER, *lines, ""])


def sudoku(line: str, more: str = "") -> Case:
    return Case(f"data sudoku out --train-csv train.csv {more}", files={"train.csv": csv(line)})


def maze(line: str, more: str = "") -> Case:
    return Case(f"data maze out --train-csv train.csv {more}", files={"train.csv": csv(line)})


PATH = "mine,S  ##  ##   ## G,So ##o ##oo ##oG,4"
SUDOKU_OPTIONS = {
    "no source": "",
    "two sources": "--generate 3 --train-csv x",
    "subsample of generated": "--generate 3 --subsample 2",
    "test csv of generated": "--generate 3 --test-csv x",
    "givens of a csv": "--train-csv x --givens 1 2",
    "size of a csv": "--train-csv x --size 4",
    "test of a csv": "--train-csv x --test 4",
    "missing csv": "--train-csv nope.csv",
    "csv is a folder": "--train-csv .",
    "test csv of the Hub": "--source hf://a/b --test-csv x",
    "no address on the Hub": "--source hf://a",
    "a file on the Hub": "--source hf://a/b/c.csv",
    "givens in the wrong order": "--generate 3 --givens 9 3",
    "too many givens": "--generate 3 --size 4 --givens 3 90",
    "no such size": "--generate 3 --size 5",
    "no puzzle": "--generate 0",
    "seed": "--generate 3 --seed 99999999999",
    "unknown option": "--generate 3 --sizes 4",
    "out of test puzzles": "--generate 300 --size 4 --test 5",
    "no boards so easy": "--generate 300 --size 4 --givens 16 16",
    "hardly rated": "--generate 3 --size 4 --min-rating 99",
    "generated": "--generate 4 --size 4 --test 2",
    "generated, JSON": "--generate 4 --size 4 --test 2 --json",
    "generated without a test": "--generate 4 --size 6 --test 0 --augment 2",
}
MAZE_OPTIONS = {
    "no source": "",
    "two sources": "--generate 3 --train-csv x",
    "subsample of generated": "--generate 3 --subsample 2",
    "rating of generated": "--generate 3 --min-rating 0",
    "kind of a csv": "--train-csv x --kind perfect",
    "path of a csv": "--train-csv x --min-path 3",
    "missing csv": "--train-csv nope.csv",
    "no address on the Hub": "--source hf://a/b/c.csv",
    "no such size": "--generate 3 --size 3",
    "no such kind": "--generate 3 --kind round",
    "too many views": "--generate 3 --augment 8",
    "path too long": "--generate 3 --size 4 --min-path 16",
    "no such paths": "--generate 3 --size 4 --min-path 15",
    "lattice does not fit": "--generate 3 --size 4 --kind perfect --min-path 12",
    "out of mazes": "--generate 900 --size 4 --kind perfect",
    "generated": "--generate 4 --size 6 --test 2",
    "generated, JSON": "--generate 4 --size 6 --test 2 --kind loops --json",
}
SUDOKU_LINES = {
    "five columns": LINE + ",x",
    "no rating": LINE[:-1],
    "rating is a word": LINE[:-1] + "easy",
    "unknown character": LINE.replace("12..", "12.x"),
    "answer contradicts": LINE.replace("12..", "13.."),
    "answer repeats": LINE.replace("1234341221434321", "1234341221434322"),
    "short question": LINE.replace("12..", "12."),
    "short answer": LINE.replace("4321", "432"),
    "long question": LINE.replace("12..", "12..."),
    "empty file": "",
}
MAZE_LINES = {
    "five columns": PATH + ",x",
    "no rating": PATH[:-1],
    "unknown character": PATH.replace("S  #", "S .#"),
    "path in the question": PATH.replace("S  #", "So #"),
    "two starts": PATH.replace("S  #", "SS #", 1),
    "no goal": PATH.replace("## G,", "##  ,"),
    "answer is broken": PATH.replace("oG", " G"),
    "answer moves a wall": PATH.replace("So ##", "So  #"),
    "no way": PATH.replace("##   ##", "#######"),
    "not square": PATH.replace("S  #", "S  ##"),
    "short answer": PATH.replace("oG", "o"),
    "empty file": "",
    "a longer path": "mine,S  G            ,S  Goooo        ,5",
}
CASES = {f"sudoku {name}": Case(f"data sudoku out {more}") for name, more in SUDOKU_OPTIONS.items()}
CASES |= {f"maze {name}": Case(f"data maze out {more}") for name, more in MAZE_OPTIONS.items()}
CASES |= {f"sudoku csv, {name}": sudoku(line) for name, line in SUDOKU_LINES.items()}
CASES |= {f"maze csv, {name}": maze(line) for name, line in MAZE_LINES.items()}
TEST = "--test-csv {kept}/sources"
CASES |= {
    "sudoku csv": sudoku(LINE, "--augment 2"),
    "sudoku csv, trained and tested": sudoku(LINE, "--test-csv train.csv"),
    "sudoku csv, too few": sudoku(LINE, "--subsample 2"),
    "sudoku csv, too easy": sudoku(LINE, "--min-rating 8"),
    "sudoku csv, two sizes": sudoku(LINE, "--test-csv {kept}/sources/maze-test.csv"),
    "sudoku csv, tested on another size": Case(
        "data sudoku out --train-csv train.csv --test-csv test.csv",
        files={"train.csv": csv(LINE), "test.csv": csv(SIX)},
    ),
    "sudoku without the Hub's package": Case(
        "data sudoku out --source hf://a/b", absent=("huggingface_hub",)
    ),
    "sudoku csv, no header": Case(
        "data sudoku out --train-csv train.csv", files={"train.csv": LINE + "\n"}
    ),
    "sudoku csv, not UTF-8": Case(
        "data sudoku out --train-csv t.csv", files={"t.csv": csv(LINE).encode() + b"\xff,a,b,1\n"}
    ),
    "sudoku csv, another size below": sudoku(LINE + "\nmine," + 36 * "." + "," + 36 * "1" + ",1"),
    "sudoku out is used": Case("data sudoku out --generate 3", files={"out/a": ""}),
    "sudoku out is a file": Case("data sudoku out --generate 3", files={"out": ""}),
    "sudoku out is empty": Case("data sudoku '' --generate 3"),
    "maze csv": maze(PATH),
    "maze csv, trained and tested": maze(PATH, "--test-csv train.csv"),
    "maze csv, too few": maze(PATH, "--subsample 2"),
    "maze csv, too easy": maze(PATH, "--min-rating 99"),
    "maze csv, two sizes": maze(PATH, f"{TEST}/maze-test.csv"),
    "maze csv, of Sudokus": maze(PATH, f"{TEST}/sudoku-test.csv"),
    "maze csv, kept": Case(
        "data maze out --train-csv {kept}/sources/maze-train.csv "
        "--test-csv {kept}/sources/maze-test.csv --json"
    ),
    "maze csv, no header": Case(
        "data maze out --train-csv train.csv", files={"train.csv": PATH + "\n"}
    ),
    "maze csv, no answer": maze(PATH.replace("So ##o ##oo ##oG", "")),
    "maze out is used": Case("data maze out --generate 3", files={"out/a": ""}),
}
