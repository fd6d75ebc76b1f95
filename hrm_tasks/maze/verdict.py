"""Judge an answer to a maze: a shortest path, a valid but longer one, or broken and where.

An answer is a path if it changes only open cells of the maze, and one way from S to G takes every
marked cell once. A shortest path never touches itself. If a longer path touches itself, the order of
its cells is searched for.

Shapes: N answers, S = size · size cells.
"""

from dataclasses import dataclass

import numpy as np

from hrm_core.messages import cell_name
from hrm_tasks.maze.board import (
    NAMES,
    OPEN,
    PATH,
    START,
    WALL,
    BoolArray,
    ByteArray,
    IntArray,
    ends,
    ends_fault,
    has_ends,
)
from hrm_tasks.maze.search import UNREACHED, distances, shortest_paths

SEARCH_MOVES = 20_000  # spent on the order of the cells of one path, then it counts as broken


@dataclass(frozen=True)
class Verdict:
    """Judgement of one answer."""

    moves: int = 0  # of its path; 0 if it is broken
    shortest: int = 0  # moves of a shortest path; 0 if it is broken
    fault: str = ""  # what is broken and where; "" if nothing is

    @property
    def is_optimal(self) -> bool:
        """Return True if the answer is a shortest path."""
        return not self.fault and self.moves == self.shortest

    def __str__(self) -> str:
        """Describe the answer in one line."""
        if self.fault:
            return f"broken: {self.fault}"
        if self.is_optimal:
            return f"optimal: {self.moves} moves"
        excess = self.moves - self.shortest
        return f"valid but longer: {self.moves} moves, {excess} more than the shortest path"


def are_shortest_paths(mazes: IntArray, answers: IntArray) -> BoolArray:
    """Return True where an answer is a shortest path through its maze.

    Shapes: (N, S), (N, S) -> (N,).
    """
    only_path = np.where(answers == OPEN, WALL, answers)
    moves = shortest_paths(only_path).moves
    shortest = shortest_paths(mazes).moves
    num_marks = (answers == PATH).sum(axis=1)
    has_changes = _changes(mazes, answers).any(axis=1)
    fits: BoolArray = (moves == num_marks + 1) & (moves == shortest)
    return fits & has_ends(mazes) & ~has_changes


def judge(maze: ByteArray, answer: ByteArray, size: int) -> Verdict:
    """Judge one answer. Shapes: (S,), (S,)."""
    fault = ends_fault(maze, size)
    if fault:
        return Verdict(fault=f"the question has {fault}")
    for cell in np.flatnonzero(_changes(maze, answer))[:1]:
        found = f"{NAMES[answer[cell]]} at {cell_name(cell, size)}"
        return Verdict(fault=f"{found}, where the question has {NAMES[maze[cell]]}")
    shortest = int(shortest_paths(maze[None]).moves[0])
    if shortest == UNREACHED:
        return Verdict(fault="the question has no way from S to G")
    fault = _path_fault(answer, size)
    if fault:
        return Verdict(fault=fault)
    num_marks = int((answer == PATH).sum())
    return Verdict(num_marks + 1, shortest)


def find_faults(mazes: IntArray, answers: IntArray, size: int) -> BoolArray:
    """Mark changes of the maze, and marks that S does not reach or that lead nowhere.

    Shapes: (N, S), (N, S) -> (N, S).
    """
    on_path = answers >= START  # S, G and marked cells
    starts, _ = ends(mazes)
    is_cut_off = distances(on_path, starts).moves == UNREACHED
    beside = np.stack([_num_beside(cells, size) for cells in on_path])
    is_mark = answers == PATH
    faults: BoolArray = _changes(mazes, answers) | (is_mark & (is_cut_off | (beside < 2)))
    return faults


def _changes(mazes: IntArray, answers: IntArray) -> BoolArray:
    """Find the cells that an answer changes other than from open to path. Shapes as given."""
    is_path = (mazes == OPEN) & (answers == PATH)
    changes: BoolArray = (answers != mazes) & ~is_path
    return changes


def _path_fault(answer: ByteArray, size: int) -> str:
    """Say why the marked cells of one answer (S,) are no path from S to G; "" if they are."""
    on_path = answer >= START  # S, G and marked cells
    is_mark = answer == PATH
    (start,), (goal,) = ends(answer[None])
    moves = distances(on_path[None], np.array([start])).moves[0]
    if moves[goal] == UNREACHED:
        return f"the path from S ends at {cell_name(int(moves.argmax()), size)}"
    if moves[goal] == is_mark.sum() + 1:
        return ""
    is_cut_off = on_path & (moves == UNREACHED)
    for cell in np.flatnonzero(is_cut_off)[:1]:
        return f"the mark at {cell_name(cell, size)} is not connected with S"
    beside = _num_beside(on_path, size)
    is_dead_end = is_mark & (beside < 2)
    for cell in np.flatnonzero(is_dead_end)[:1]:
        return f"the path has a dead end at {cell_name(cell, size)}"
    if _visits_all(on_path, int(start), int(goal), size):
        return ""
    most = np.where(is_mark, 2, 1)
    is_fork = on_path & (beside > most)
    cell = int(is_fork.argmax())
    return f"the path forks at {cell_name(cell, size)}"


def _num_beside(cells: BoolArray, size: int) -> IntArray:
    """Count the cells of `cells` (S,) above, below, left and right of each cell. Returns: (S,)."""
    grid = np.pad(cells.reshape(size, size), 1).astype(np.int64)
    inside = slice(1, -1)
    count = grid[:-2, inside].copy()
    count += grid[2:, inside]
    count += grid[inside, :-2]
    count += grid[inside, 2:]
    return count.reshape(-1)


def _visits_all(cells: BoolArray, start: int, goal: int, size: int) -> bool:
    """Return True if a way from start to goal takes each of `cells` (S,) once.

    Returns False, too, if `SEARCH_MOVES` moves do not find it.
    """
    width = size + 2
    framed = np.pad(cells.reshape(size, size), 1)
    left = set(np.flatnonzero(framed).tolist())

    def in_frame(cell: int) -> int:
        row, column = divmod(cell, size)
        return (row + 1) * width + column + 1

    def beside(cell: int) -> list[int]:
        around = (cell - width, cell - 1, cell + 1, cell + width)
        return [other for other in around if other in left]

    def onward(cell: int) -> list[int]:
        """Return the next cells from a cell just taken, the best last: it has the fewest ways on.

        A cell that would become a dead end comes next; two of them leave no choice.
        """
        choices: list[tuple[int, int]] = []
        dead_ends: list[int] = []
        for next_cell in beside(cell):
            if next_cell == end and len(left) > 1:
                continue
            num_ways = len(beside(next_cell))
            choices.append((num_ways, next_cell))
            if num_ways < 2 and next_cell != end:
                dead_ends.append(next_cell)
        if dead_ends:
            return dead_ends if len(dead_ends) == 1 else []
        choices.sort(reverse=True)
        return [next_cell for _, next_cell in choices]

    here = in_frame(start)
    end = in_frame(goal)
    left.remove(here)
    trail = [here]
    choices = [onward(here)]
    for _ in range(SEARCH_MOVES):
        while choices and not choices[-1]:
            choices.pop()
            left.add(trail.pop())
        if not choices:
            return False
        trail.append(choices[-1].pop())
        left.remove(trail[-1])
        if not left:
            return trail[-1] == end
        choices.append(onward(trail[-1]))
    return False
