"""Files as people have them: each is read as the board that it shows, or refused for what it is."""

from pathlib import Path

import numpy as np
import pytest

from hrm_core.errors import PuzzleError
from hrm_tasks.sudoku.task import Sudoku

LINE = "53..7....6..195....98....6.8...6...34..8.3..17...2...6.6....28....419..5....8..79"
OTHER = "..............3.85..1.2.......5.7.....4...1...9.......5......73..2.1........4...9"
BOARDS = {
    **dict.fromkeys(
        [
            "gnu_dash.txt",
            "line_X.txt",
            "line_csv.txt",
            "pylist.txt",
            "rows_q.csv",
            "rows_space.txt",
            "simple.ss",
            "sudocue.sdk",
            "utf16.txt",
        ],
        LINE,
    ),
    "no_solution.txt": LINE.replace("..7", "1.7", 1),
    "several_solutions.txt": LINE.replace("419", "...", 1),
}
ANSWER = "534678912672195348198342567859761423426853791713924856961537284287419635345286179"
ROWS = [LINE[at : at + 9] for at in range(0, 81, 9)]
DRAWN = "\n".join(ROWS)
OTHER_DRAWN = "\n".join(OTHER[at : at + 9] for at in range(0, 81, 9))


def lines_of(text: str) -> list[str]:
    task = Sudoku(9)
    return [task.line(puzzle) for puzzle in task.parse(text)]


def refusal(text: str, size: int = 9) -> str:
    with pytest.raises(PuzzleError) as refused:
        Sudoku(size).parse(text)
    message = str(refused.value)
    assert "\n" not in message
    return message


@pytest.mark.parametrize("name", BOARDS)
def test_case_is_read_as_its_board(cases_dir: Path, name: str) -> None:
    task = Sudoku(9)
    puzzles = task.read_file(cases_dir / "sudoku_text" / name)
    assert [task.line(puzzle) for puzzle in puzzles] == [BOARDS[name]]


def test_every_case_has_its_board(cases_dir: Path) -> None:
    found = {path.name for path in (cases_dir / "sudoku_text").iterdir()}
    assert found == {*BOARDS, "candidates.txt"}


def test_grid_of_candidates_is_called_one(cases_dir: Path) -> None:
    text = (cases_dir / "sudoku_text" / "candidates.txt").read_text()
    message = refusal(text)
    assert message.startswith("a candidate grid: 47 cells hold several candidates, the first is")
    assert "row 1, column 3 with 124" in message
    small = "| 12 3 | 4 1 |\n| 4 1 | 2 3 |\n+---+---+\n| 1 4 | 3 2 |\n| 3 2 | 1 4 |"
    assert "1 cells hold several candidates, the first is row 1, column 1" in refusal(small, 4)


def test_grid_with_one_candidate_a_cell_is_a_board() -> None:
    rows = [ANSWER[at : at + 9] for at in range(0, 81, 9)]
    drawn = "\n".join(f"|  {'   '.join(row)}  |" for row in rows)
    assert lines_of(f"*{'-' * 37}*\n{drawn}\n*{'-' * 37}*") == [ANSWER]


@pytest.mark.parametrize(
    "text",
    [
        f"{LINE}\n{OTHER}",
        f"{LINE} 5.6 # easy\n{OTHER} 9.1 # hard\n",
        f"{LINE.replace('.', '*')}\n{OTHER.replace('.', '?')}\n",
        f"id,puzzle,clues\n1,{LINE},30\n2,{OTHER},17\n",
        f"question;solution\n{LINE};{ANSWER}\n{OTHER};\n",
        f'["{LINE}",\n "{OTHER}"]',
        f'["{LINE}", "{OTHER}"]',
        f"Grid 01\n{DRAWN}\nGrid 02\n{OTHER_DRAWN}",
        f"{DRAWN}\n\n# the second\n{OTHER}\n",
        f"1.\n{DRAWN}\n\n(2)\n{OTHER}\n",
        f"{DRAWN}\n========\n{OTHER_DRAWN}",
        f"+---+\n{DRAWN}\n+---+\n+---+\n{OTHER_DRAWN}\n+---+\n",
        f"[Puzzle]\n{DRAWN}\n[State]\n{ANSWER}\n[puzzle]\n{OTHER}\n[Notes]\n12 3",
        f"\ufeff{LINE.replace('.', 'x')}\r{OTHER.replace('.', 'X')}\r",
    ],
)
def test_text_of_two_puzzles(text: str) -> None:
    assert lines_of(text) == [LINE, OTHER]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            f"{LINE},{OTHER},5.6",
            f"the line reads as {LINE} and as {OTHER}; expected one puzzle a line",
        ),
        (f"{LINE},{ANSWER[:80]}1,5.6", f"the line reads as {LINE} and as {ANSWER[:80]}1"),
        (f"{LINE},{ANSWER[:50]}.{ANSWER[51:]}", f"the line reads as {LINE} and as"),
        (f"5\n{'.' * 80},{'5' + ANSWER[1:]}", f"the line reads as {ANSWER} and as {'.' * 80}"),
        (f"{LINE[:40]} {LINE[40:]} Easy", "unknown character 'E' at line 1, column 84"),
        (f"{LINE[:80]},Easy 1", "puzzle 1 (line 1): unknown character 'E'"),
        (f"{LINE}\n{LINE[:60]} Easy 1", "puzzle 2 (line 2): unknown character 'E'"),
        (LINE.replace(".", "X")[:80], "puzzle 1 (line 1): 80 cells; expected 81"),
        (LINE.replace(".", "-", 1), "unknown character"),
        (DRAWN.replace(".", " ", 1), "row 1 (line 1) has 8 cells; expected 9"),
        (DRAWN.replace(".", " ")[:-1], "row 9 (line 9) has 8 cells; expected 9"),
        (
            "\n".join(f"|{'|'.join(row)}|" for row in ROWS).replace(".", " ").replace("5", "55", 1),
            "row 1",
        ),
        ("\n".join(ROWS[:4]) + "\n...ab....\n", "4 rows, then line 5 has letters; expected 9"),
        ("\n".join(ROWS[:5]) + "\n\n" + "\n".join(ROWS[5:]), "5 rows; expected 9"),
        ("\n".join(ROWS[:8]) + "\n---------", "8 rows; expected 9"),
        ("A letter to the editor.", "no puzzle found in 23 characters of text"),
    ],
)
def test_what_does_not_fit_is_refused(text: str, message: str) -> None:
    assert message in refusal(text)


@pytest.mark.parametrize(
    "row",
    ["1|  | 4|", "|1  |  4|", "1,,4,", "|1|  |  4|"],
)
def test_row_with_its_cells_at_other_places_is_refused(row: str) -> None:
    """Each row would fit by itself: as fields, or as cells with a space between them."""
    assert "line 3" in refusal(f"|2 |  |\n|  |  |\n{row}\n|4 | 3|", 4)


def test_two_readings_are_both_shown() -> None:
    """Four rows above four lines of dashes: one puzzle with a frame, or two puzzles."""
    text = "1234\n3412\n2143\n4321\n\n----\n----\n----\n----"
    assert refusal(text, 4).startswith(
        "two readings fit; puzzle 2 is none with blanks as . 0 or _ "
        "and ................ with blanks as - or _; write"
    )


def test_solution_below_a_puzzle_is_left_out_and_that_is_said() -> None:
    text = f"{OTHER}\n{LINE}\nSolution:\n{ANSWER}\n{LINE}\n{ANSWER}\n{ANSWER}"
    said = r"^grid 3 of the text solves grid 2: it is left out as its solution, and 1 more like it$"
    with pytest.warns(UserWarning, match=said):
        assert lines_of(text) == [OTHER, LINE, LINE, ANSWER]
    other = ANSWER.translate(str.maketrans("12", "21"))
    assert lines_of(f"{LINE}\n{other}") == [LINE, other]  # it solves another


def test_line_of_all_candidates_is_called_a_candidate_grid() -> None:
    text = "".join((cell if cell != "." else "123456789").ljust(9, ".") for cell in LINE)
    assert refusal(text).startswith("a candidate grid: 729 cells in line 1, 9 for each cell; ")


def test_latin_1_in_a_comment(tmp_path: Path) -> None:
    path = tmp_path / "old.sdk"
    path.write_bytes(f"#DCafé\r\n{DRAWN}\r\n".encode("latin-1"))
    with pytest.warns(UserWarning, match="read as Windows-1252"):
        np.testing.assert_array_equal(Sudoku(9).read_file(path), Sudoku(9).parse(LINE))


@pytest.mark.parametrize(
    ("name", "flaw"),
    [
        ("no_solution.txt", "the puzzle has no solution"),
        ("several_solutions.txt", "the puzzle has several solutions"),
        ("line_X.txt", ""),
    ],
)
def test_flaw_of_a_puzzle_is_told(cases_dir: Path, name: str, flaw: str) -> None:
    task = Sudoku(9)
    (puzzle,) = task.read_file(cases_dir / "sudoku_text" / name)
    assert task.flaw(puzzle) == flaw


def test_search_for_a_flaw_ends() -> None:
    """200,000 backtracks do not decide this puzzle."""
    hard = ".....5.8....6.1.43..........1.5........1.6...3.......553.....61........4........."
    assert Sudoku(9).flaw(Sudoku(9).parse(hard)[0]) == ""
