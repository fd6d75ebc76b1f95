"""Every task reads its text files in the encodings that other systems write."""

from pathlib import Path

import numpy as np
import pytest

from hrm_tasks.arc.task import Arc
from hrm_tasks.maze.task import Maze
from hrm_tasks.sudoku.task import Sudoku

ROWS = {
    Sudoku(4): "1.3.\n..1.\n.1..\n..2.\n",
    Maze(4): "████\n█S.█\n█.G█\n████\n",
    Arc(4): "12\n34\n",
}


@pytest.mark.filterwarnings("ignore:maze 1:UserWarning")
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
@pytest.mark.parametrize("task", ROWS, ids=str)
def test_file_is_decoded_as_its_byte_order_mark_says(
    task: Sudoku | Maze | Arc, encoding: str, tmp_path: Path
) -> None:
    path = tmp_path / "puzzle.txt"
    path.write_bytes(ROWS[task].encode(encoding))
    np.testing.assert_array_equal(task.read_file(path), task.parse(ROWS[task]))
