"""What an answer to a maze is worth: the shortest path, a valid but longer one, or none, and where it breaks.

An answer is a path if it changes nothing of the maze but open cells, and one way from S to G takes every marked cell
once. A shortest path never touches itself; of a longer one that does, the order of its cells is searched for.

Shapes: N answers, S = size · size cells.
"""

from dataclasses import dataclass

import numpy as np

from hrm_core.messages import cell_name
from hrm_tasks.maze.board import (
    GOAL,
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

SEARCH_MOVES = 20_000  # after which the cells of a path that touches itself count as in no order


@dataclass(frozen=True)
class Verdict:
    """What is to be said of one answer."""

    moves: int = 0  # of its path; 0 where it is broken
    shortest: int = 0  # moves of a shortest path; 0 where it is broken
    fault: str = ""  # what is broken and where

    @property
    def is_optimal(self) -> bool:
        """Whether it is a shortest path."""
        return not self.fault and self.moves == self.shortest

    def __str__(self) -> str:
        """One line for a person."""
        if self.fault:
            return f"broken: {self.fault}"
        if self.is_optimal:
            return f"optimal: {self.moves} moves"
        return f"valid but longer: {self.moves} moves, {self.moves - self.shortest} more than the shortest path"


def are_shortest_paths(mazes: IntArray, answers: IntArray) -> BoolArray:
    """Whether each answer is a shortest path through its maze. Shapes: (N, S), (N, S) -> (N,)."""
    marked, shortest = (
        shortest_paths(np.where(answers == OPEN, WALL, answers)),
        shortest_paths(mazes),
    )
    num_marks = (answers == PATH).sum(axis=1)
    fits: BoolArray = (marked.moves == num_marks + 1) & (marked.moves == shortest.moves)
    return fits & has_ends(mazes) & ~_changes(mazes, answers).any(axis=1)


def judge(maze: ByteArray, answer: ByteArray, size: int) -> Verdict:
    """Look at one answer. Shapes: (S,), (S,)."""
    if fault := ends_fault(maze, size):
        return Verdict(fault=f"the question has {fault}")
    for cell in np.flatnonzero(_changes(maze, answer))[:1]:
        return Verdict(
            fault=f"{NAMES[answer[cell]]} at {cell_name(cell, size)}, where the question has {NAMES[maze[cell]]}"
        )
    shortest = int(shortest_paths(maze[None]).moves[0])
    if shortest == UNREACHED:
        return Verdict(fault="the question has no way from S to G")
    if fault := _path_fault(answer, size):
        return Verdict(fault=fault)
    return Verdict(int((answer == PATH).sum()) + 1, shortest)


def _changes(mazes: IntArray, answers: IntArray) -> BoolArray:
    """The cells in which an answer says something else than its maze, paths through open cells apart. Shapes as given."""
    changes: BoolArray = (answers != mazes) & ~((mazes == OPEN) & (answers == PATH))
    return changes


def _path_fault(answer: ByteArray, size: int) -> str:
    """Why the marked cells of one answer (S,) are no path from S to G; "" if they are."""
    on_path = answer >= START  # S, G and marked cells
    (start,), (goal,) = ends(answer[None])
    steps = distances(on_path[None], np.array([start])).steps[0]
    if steps[goal] == UNREACHED:
        return f"the path from S ends at {cell_name(int(steps.argmax()), size)}"
    if steps[goal] == (answer == PATH).sum() + 1:
        return ""
    for cell in np.flatnonzero(on_path & (steps == UNREACHED))[:1]:
        return f"the mark at {cell_name(cell, size)} is not connected with S"
    beside = _num_beside(on_path, size)
    for cell in np.flatnonzero((answer == PATH) & (beside < 2))[:1]:
        return f"the path has a dead end at {cell_name(cell, size)}"
    if _visits_all(on_path, int(start), int(goal), size):
        return ""
    most = np.where((answer == GOAL) | (answer == START), beside + 1, beside)
    return f"the path forks at {cell_name(int((on_path & (most > 2)).argmax()), size)}"


def _num_beside(cells: BoolArray, size: int) -> IntArray:
    """How many of the four cells beside each are among `cells` (S,). Returns: (S,)."""
    grid = np.pad(cells.reshape(size, size), 1).astype(np.int64)
    return (grid[:-2, 1:-1] + grid[2:, 1:-1] + grid[1:-1, :-2] + grid[1:-1, 2:]).reshape(-1)


def _visits_all(cells: BoolArray, start: int, goal: int, size: int) -> bool:
    """Whether a way from start to goal takes each of `cells` (S,) once; no if `SEARCH_MOVES` do not find it."""
    framed = np.flatnonzero(np.pad(cells.reshape(size, size), 1)).tolist()
    width = size + 2
    left = set(framed)
    here, end = ((cell // size + 1) * width + cell % size + 1 for cell in (start, goal))

    def beside(cell: int) -> list[int]:
        return [cell + offset for offset in (-width, -1, 1, width) if cell + offset in left]

    def onward(cell: int) -> list[int]:
        """Where to go from a cell just taken, the best choice last: one that leaves no dead end, and few ways on."""
        ways = [(len(beside(way)), way) for way in beside(cell) if way != end or len(left) == 1]
        needy = [
            way for num_ways, way in ways if way != end and num_ways < 2
        ]  # only now can they be taken
        chosen = ways if not needy else [(0, way) for way in needy[:1]] if len(needy) == 1 else []
        return [way for _, way in sorted(chosen, reverse=True)]

    left.remove(here)
    trail, choices = [here], [onward(here)]
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
