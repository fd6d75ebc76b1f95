import random
from pathlib import Path

import numpy as np
import pytest

from hrm_core.data.label_tables import NameColumn, Table, file_names, read_table
from hrm_core.errors import DataError, HRMError


def table_of(folder: Path, text: str | bytes) -> Table:
    path = folder / "t.csv"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return read_table(path)


@pytest.mark.parametrize("between", [",", ";", "\t"])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_commas_semicolons_and_tabs_separate_columns(
    tmp_path: Path, between: str, end: str
) -> None:
    lines = [["Image Index", "Pleural_Thickening"], ["a.png", "1"], ["b.png", "0"]]
    text = end.join(between.join(line) for line in lines) + end
    table = table_of(tmp_path, b"\xef\xbb\xbf" + text.encode())
    assert file_names(table) == ["a.png", "b.png"]
    np.testing.assert_array_equal(table.numbers("pleural thickening"), [1, 0])


def test_numbers_are_present_absent_or_not_known(tmp_path: Path) -> None:
    table = table_of(tmp_path, "file,x\na,1.0\nb,0\nc,-1\nd, \ne,-1.0\n")
    np.testing.assert_array_equal(table.numbers("x"), [1, 0, -1, -1, -1])
    assert table.is_numbers("X")
    assert not table.is_numbers("file")


def test_the_trailing_comma_of_nih_is_a_column(tmp_path: Path) -> None:
    header = (
        "Image Index,Finding Labels,OriginalImage[Width,Height],OriginalImagePixelSpacing[x,y],"
    )
    table = table_of(tmp_path, f"{header}\na.png,Mass|Nodule,2682,2749,0.143,0.143,\n")
    assert file_names(table) == ["a.png"]
    assert table.columns["findinglabels"] == ["Mass|Nodule"]


def test_empty_lines_count_in_the_line_that_is_named(tmp_path: Path) -> None:
    table = table_of(tmp_path, 'file,x\n\n"a",1\n\nb,7\n')
    with pytest.raises(DataError, match=r"t\.csv:5: x is '7'; expected 1"):
        table.numbers("x")


def test_table_of_very_many_columns_is_read(tmp_path: Path) -> None:
    """Headers that are compared each with each other would take minutes."""
    names = [f"c{number}" for number in range(100_000)]
    values = ",".join("1" * len(names))
    assert len(table_of(tmp_path, f"{','.join(names)}\n{values}\n").header) == 100_000
    with pytest.raises(DataError, match="two columns are called 'C7'"):
        table_of(tmp_path, f"C7,{','.join(names)}\n1,{values}\n")


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("", "no rows"),
        ("file,x\n", "no rows"),
        ("file,x\na,1,2\n", "t.csv:2 has 3 values; expected 2"),
        ("file,x, X\na,1,2\n", "two columns are called 'x'"),
        ("file,_,_\na,1,2\n", "two columns are called '_'"),
        ('file,x\n"a,1\n', "is not CSV"),
        ('file,x\n"a"b,1\n', "is not CSV"),
        (b"file,x\n\xffa,1\n", "not UTF-8"),
        ("file,x\na,\0\n", "is not CSV|x is"),
        ("file,x\na," + "1" * 200_000 + "\n", "is not CSV"),
    ],
)
def test_a_table_of_another_form_is_refused(tmp_path: Path, text: str | bytes, found: str) -> None:
    with pytest.raises(DataError, match=found):
        table_of(tmp_path, text).numbers("x")


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("file,x\na.png,1\na.png,0\n", r"t\.csv:3 names 'a\.png' again, as line 2 does"),
        ("file,x\na.png,1\n ,0\n", r"t\.csv:3 has no file name"),
        ("picture,x\na.png,1\n", "no column of file names"),
    ],
)
def test_doubled_and_missing_file_names_are_refused(tmp_path: Path, text: str, found: str) -> None:
    with pytest.raises(DataError, match=found):
        file_names(table_of(tmp_path, text))


def test_backslashes_in_file_names_become_slashes(tmp_path: Path) -> None:
    assert file_names(table_of(tmp_path, "file,x\na\\b.png,1\n./c.png,1\n")) == ["a/b.png", "c.png"]


def test_splits_go_by_several_names(tmp_path: Path) -> None:
    table = table_of(tmp_path, "file,split\na,Train\nb,validation\nc,test\nd,training\n")
    assert table.splits == ["train", "val", "test", "train"]
    with pytest.raises(DataError, match=r"t\.csv:3: the split is 'other'"):
        _ = table_of(tmp_path, "file,split\na,train\nb,other\n").splits
    assert table_of(tmp_path, "file,x\na,1\n").splits is None


def test_names_are_joined_by_bars(tmp_path: Path) -> None:
    table = table_of(tmp_path, "file,l\na,Mass|Lung Lesion\nb,none\nc,\nd,mass\n")
    names = NameColumn(table, table.columns["l"], ("none",))
    assert names.spelled == {"lunglesion": "Lung Lesion", "mass": "Mass"}
    np.testing.assert_array_equal(names.targets("mass"), [1, 0, -1, 1])
    np.testing.assert_array_equal(names.targets("lunglesion"), [1, 0, -1, 0])


def test_names_that_are_numbers_are_in_order_of_their_values(tmp_path: Path) -> None:
    table = table_of(tmp_path, "file,l\na,10\nb,9\nc,2\nd,x\n")
    assert list(NameColumn(table, table.columns["l"]).spelled) == ["2", "9", "10", "x"]


def test_damaged_tables_are_read_or_refused_in_one_line(tmp_path: Path) -> None:
    rng = random.Random(12)
    data = b'file,Mass;"split",label\na.png,1,train,x|y\n"b.png",0,val,none\nc.png,,test,y\n' * 2
    num_read, messages = 0, []
    for _ in range(300):
        changed = bytearray(data)
        for _ in range(rng.randint(1, 5)):
            place = rng.randrange(len(changed))
            if rng.random() < 0.5:
                changed[place] = rng.choice(b',;"\n\r\t|01-\xff\0 ax')
            else:
                del changed[place : place + rng.randint(1, 4)]
        try:
            table = table_of(tmp_path, bytes(changed))
            file_names(table)
            table.numbers("mass")
            num_read += 1
        except HRMError as error:
            messages.append(str(error))
        except KeyError:  # the header was hit
            num_read += 1
    assert num_read + len(messages) == 300
    assert len(messages) > 60
    assert not [message for message in messages if "\n" in message]


def test_names_on_several_lines_become_one(tmp_path: Path) -> None:
    table = table_of(tmp_path, 'file,"my\n  column",label\na,1,"two\nlines"\n')
    assert table.header == ["file", "my column", "label"]
    np.testing.assert_array_equal(table.numbers("My_Column"), [1])
    assert NameColumn(table, table.columns["label"]).spelled == {"twolines": "two lines"}


@pytest.mark.parametrize("sign", ["\x0b", "\x0c", "\x1c", "\x85", "\u2028"])
def test_only_ends_of_lines_end_a_row(tmp_path: Path, sign: str) -> None:
    table = table_of(tmp_path, f"file,Mass,note\na,1,one{sign}two\nb,7,\n")
    assert table.columns["note"] == [f"one{sign}two", ""]
    with pytest.raises(DataError, match=r"t\.csv:3: Mass is '7'"):
        table.numbers("Mass")
