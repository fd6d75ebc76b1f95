"""A deterministic Sudoku solver that also says how hard a puzzle was: its rating is the number of backtracks.

All candidates of a board live in one integer: bit d · S + cell says that digit d + 1 may still stand in that
cell. Cells and units are then alike: each is a set of `size` bits of which exactly one will stay. Counting the
bits of all sets of one kind is a few shifts of the whole integer.

Shapes: S cells. A grid holds digits, 0 for a blank.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from itertools import islice
from typing import NamedTuple

import numpy as np

from hrm_core.errors import PuzzleError
from hrm_tasks.sudoku.board import BOARDS, Board, ByteArray, IntArray


class Solution(NamedTuple):
    """The first solution found and what it took."""

    grid: ByteArray  # (S,) digits
    rating: int  # trials that led nowhere


class Family(NamedTuple):
    """Sets of candidates of which one must hold: one set for each bit of `heads`, its members at head + shift."""

    shifts: tuple[int, ...]
    heads: int

    @property
    def spread(self) -> int:
        """The factor that turns a head into all members of its set."""
        return sum(1 << shift for shift in self.shifts)


class State(NamedTuple):
    """Where a search stands."""

    candidates: int
    placed: int  # the candidates whose consequences are already drawn

    @property
    def is_solved(self) -> bool:
        """Whether every candidate left is a placed one; of a propagated state."""
        return self.candidates == self.placed


class Rules:
    """The sets of one board as integers."""

    def __init__(self, board: Board) -> None:
        size, num_cells = board.size, board.num_cells
        self.size, self.num_cells = size, num_cells
        self.cells = Family(tuple(range(0, size * num_cells, num_cells)), (1 << num_cells) - 1)
        families = [
            self.cells,
            *(_unit_family(units, num_cells) for units in np.split(board.units, 3)),
        ]
        self.families = [(family.shifts, family.heads, family.spread) for family in families]
        self.everything = (1 << size * num_cells) - 1
        self.keep = [self._kept_by(bit) for bit in range(size * num_cells)]

    def _kept_by(self, bit: int) -> int:
        """The candidates that stay possible once this one holds: all but the others of its four sets."""
        gone = 0
        for shifts, heads, spread in self.families:
            head = next(
                bit - shift for shift in shifts if bit >= shift and heads >> (bit - shift) & 1
            )
            gone |= spread << head
        return self.everything & ~gone | 1 << bit

    def start(self, grid: IntArray) -> State:
        """The state after placing every given of a grid (S,)."""
        candidates, placed = self.everything, 0
        for cell, digit in enumerate(grid.tolist()):
            if digit:
                bit = (digit - 1) * self.num_cells + cell
                candidates &= self.keep[bit]
                placed |= 1 << bit
        return State(candidates, placed)

    def propagate(self, state: State) -> State | None:
        """Place naked and hidden singles until there is none left; None where a cell or a unit has no candidate.

        The result does not depend on the order of placing: each step only removes candidates, and none takes
        away the ground of another.
        """
        candidates, placed = state
        while True:
            singles = 0
            for shifts, heads, spread in self.families:
                once = twice = 0
                for shift in shifts:
                    here = candidates >> shift & heads
                    twice |= once & here
                    once |= here
                if once != heads:
                    return None
                singles |= (once ^ twice) * spread
            singles &= candidates & ~placed
            if not singles:
                return State(candidates, placed)
            placed |= singles
            while singles:
                bit = singles.bit_length() - 1
                candidates &= self.keep[bit]
                singles ^= 1 << bit

    def trials(self, state: State) -> Iterator[State]:
        """Try the digits of the first cell with the fewest candidates, in ascending order."""
        cell = self._branching_cell(state.candidates)
        for bit in range(cell, self.size * self.num_cells, self.num_cells):
            if state.candidates >> bit & 1:
                yield State(state.candidates & self.keep[bit], state.placed | 1 << bit)

    def _branching_cell(self, candidates: int) -> int:
        at_least = [self.cells.heads]  # at_least[k]: the cells with k candidates or more
        for shift in self.cells.shifts:
            here = candidates >> shift & self.cells.heads
            at_least.append(0)
            for count in range(len(at_least) - 1, 0, -1):
                at_least[count] |= at_least[count - 1] & here
        at_least.append(0)
        exactly = (at_least[count] & ~at_least[count + 1] for count in range(2, self.size + 1))
        fewest = next(cells for cells in exactly if cells)
        return (fewest & -fewest).bit_length() - 1

    def grid(self, state: State) -> ByteArray:
        """The digits (S,) of a solved state."""
        data = state.candidates.to_bytes(-(-self.size * self.num_cells // 8), "little")
        bits = np.unpackbits(
            np.frombuffer(data, dtype=np.uint8), bitorder="little", count=self.size * self.num_cells
        )
        digits: ByteArray = bits.reshape(self.size, self.num_cells).argmax(axis=0) + 1
        return digits.astype(np.uint8)


def _unit_family(units: IntArray, num_cells: int) -> Family:
    """The sets of one kind of unit (size, size), for every digit."""
    size = len(units)
    heads = sum(1 << digit * num_cells + int(cell) for digit in range(size) for cell in units[:, 0])
    return Family(tuple((units[0] - units[0, 0]).tolist()), heads)


@dataclass
class Search:
    """A depth-first search that counts the trials without a solution."""

    rules: Rules
    backtracks: int = 0

    def solutions(self, start: State) -> Iterator[State]:
        """Yield every solution in the order the search meets them."""
        state = self.rules.propagate(start)
        if state is None:
            return
        if state.is_solved:
            yield state
            return
        for trial in self.rules.trials(state):
            is_vain = True
            for solution in self.solutions(trial):
                is_vain = False
                yield solution
            self.backtracks += is_vain


@cache
def rules_of(size: int) -> Rules:
    """The rules of the board with this many rows, built once."""
    return Rules(BOARDS[size])


def solve(grid: IntArray) -> Solution:
    """Find the first solution of a grid (S,) and rate it by the backtracks before it.

    Naked and hidden singles are placed as long as there are any; then the cell with the fewest candidates, the
    first of several, tries its digits in ascending order. A trial whose subtree holds no solution is one backtrack.

    Raises: PuzzleError where the grid has no solution.
    """
    search = Search(_rules_for(grid))
    for state in search.solutions(search.rules.start(grid)):
        return Solution(search.rules.grid(state), search.backtracks)
    raise PuzzleError("the puzzle has no solution; expected exactly one: check its givens")


def solutions(grid: IntArray) -> Iterator[ByteArray]:
    """Yield every solution (S,) of a grid (S,)."""
    rules = _rules_for(grid)
    return (rules.grid(state) for state in Search(rules).solutions(rules.start(grid)))


def count_solutions(grid: IntArray, limit: int = 2) -> int:
    """Count the solutions of a grid (S,), at most `limit`."""
    rules = _rules_for(grid)
    return sum(1 for _ in islice(Search(rules).solutions(rules.start(grid)), limit))


def _rules_for(grid: IntArray) -> Rules:
    return rules_of(next(size for size, board in BOARDS.items() if board.num_cells == len(grid)))
