from hrm_core.data.drawings import (
    Drawing,
    Line,
    cut_puzzles,
    number_lines,
    paragraphs,
    split_at_feeds,
)

TEXT = "\ufeffab\r\ncd\n\n \nabcd\nef\x85gh\n"


def drawings(text: str) -> list[Drawing]:
    found = paragraphs(number_lines(text), lambda line, num_rows: bool(line.strip()))
    return list(cut_puzzles("grid", found, lambda lines: any(len(line.text) > 2 for line in lines)))


def test_text_is_cut_at_empty_lines_and_into_lines_that_are_puzzles() -> None:
    assert drawings(TEXT) == [
        Drawing("grid 1 (line 1)", [Line(1, "ab"), Line(2, "cd")]),
        Drawing("grid 2 (line 5)", [Line(5, "abcd")]),
        Drawing("grid 3 (line 6)", [Line(6, "ef")]),
        Drawing("grid 4 (line 7)", [Line(7, "gh")]),
    ]
    assert drawings("\ufeff\n \n") == []


def test_only_feeds_part_lines_where_other_ends_may_be_cells() -> None:
    lines = [line.text for line in number_lines(TEXT, split_at_feeds)]
    assert lines == ["ab", "cd", "", " ", "abcd", "ef\x85gh", ""]


def test_number_of_rows_so_far_can_decide() -> None:
    lines = number_lines("a\nb\nc\n\nd")
    found = paragraphs(lines, lambda line, num_rows: bool(line) and num_rows < 2)
    assert [[line.text for line in rows] for rows in found] == [["a", "b"], ["d"]]
