"""Solve Sudoku puzzles and rate them: the rating is the number of backtracks of this deterministic solver.

All candidates of a board are bits of one integer: bit d · S + cell says that digit d + 1 may still
stand in that cell. So cells and units are the same thing: sets of `size` bits of which exactly one
will stay. A few shifts of the whole integer count the bits of all sets of one kind.

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
    """First solution of a puzzle and the rating of the puzzle."""

    grid: ByteArray  # (S,) digits
    rating: int  # backtracks: trials without a solution


class Family(NamedTuple):
    """Sets of candidates of which one must hold: the cells, the rows, the columns or the boxes.

    There is one set for each bit of `heads`; its members are the bits at head + shift.
    """

    shifts: tuple[int, ...]
    heads: int

    @property
    def spread(self) -> int:
        """Return the factor that turns a head into all members of its set."""
        return sum(1 << shift for shift in self.shifts)


class State(NamedTuple):
    """State of a search; sets of candidates as bits."""

    candidates: int
    placed: int  # candidates whose consequences are already drawn

    @property
    def is_solved(self) -> bool:
        """Return True if a propagated state has no candidates left but the placed ones."""
        return self.candidates == self.placed


class Rules:
    """Sets of candidates of one board as integers."""

    def __init__(self, board: Board) -> None:
        self.size = board.size
        self.num_cells = board.num_cells
        num_bits = self.size * self.num_cells
        self.everything = (1 << num_bits) - 1
        self.cells = Family(
            shifts=tuple(range(0, num_bits, self.num_cells)),
            heads=(1 << self.num_cells) - 1,
        )
        kinds = np.split(board.units, 3)
        families = [self.cells]
        families += [_unit_family(units, self.num_cells) for units in kinds]
        self.families = [(family.shifts, family.heads, family.spread) for family in families]
        self.keep = [self._kept_by(bit) for bit in range(num_bits)]

    def _kept_by(self, bit: int) -> int:
        """Return the candidates that remain if this one holds: all but the others of its four sets."""
        excluded = 0
        for shifts, heads, spread in self.families:
            may_be_head = (bit - shift for shift in shifts if bit >= shift)
            head = next(place for place in may_be_head if heads >> place & 1)
            excluded |= spread << head
        return self.everything & ~excluded | 1 << bit

    def start(self, grid: IntArray) -> State:
        """Place every given of a grid (S,)."""
        candidates = self.everything
        placed = 0
        for cell, digit in enumerate(grid.tolist()):
            if digit:
                bit = (digit - 1) * self.num_cells + cell
                candidates &= self.keep[bit]
                placed |= 1 << bit
        return State(candidates, placed)

    def propagate(self, state: State) -> State | None:
        """Place naked and hidden singles until none is left.

        Returns: None if a cell or a unit has no candidate. The result does not depend on the order
        of placing: a step only removes candidates and never undoes the reason for another step.
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
        """Place each candidate of the first cell with the fewest candidates, in ascending order."""
        candidates, placed = state
        cell = self._branching_cell(candidates)
        for bit in range(cell, self.size * self.num_cells, self.num_cells):
            if candidates >> bit & 1:
                yield State(candidates & self.keep[bit], placed | 1 << bit)

    def _branching_cell(self, candidates: int) -> int:
        """Return the first of the cells that have the fewest candidates, but at least two."""
        heads = self.cells.heads
        at_least = [heads]  # at_least[k]: the cells with k candidates or more
        for shift in self.cells.shifts:
            here = candidates >> shift & heads
            at_least.append(0)
            for count in range(len(at_least) - 1, 0, -1):
                at_least[count] |= at_least[count - 1] & here
        at_least.append(0)
        for count in range(2, self.size + 1):
            exactly = at_least[count] & ~at_least[count + 1]
            if exactly:
                lowest = exactly & -exactly
                return lowest.bit_length() - 1
        raise AssertionError("a solved state has no cell to branch on")

    def grid(self, state: State) -> ByteArray:
        """Return the digits (S,) of a solved state."""
        num_bits = self.size * self.num_cells
        num_bytes = -(-num_bits // 8)
        data = state.candidates.to_bytes(num_bytes, "little")
        packed = np.frombuffer(data, dtype=np.uint8)
        bits = np.unpackbits(packed, bitorder="little", count=num_bits)
        digits: ByteArray = bits.reshape(self.size, self.num_cells).argmax(axis=0) + 1
        return digits.astype(np.uint8)


def _unit_family(units: IntArray, num_cells: int) -> Family:
    """Return the sets of one kind of unit (size, size) for every digit."""
    size = len(units)
    first_cells = units[:, 0].tolist()
    heads = sum(1 << digit * num_cells + cell for digit in range(size) for cell in first_cells)
    shifts = units[0] - units[0, 0]
    return Family(tuple(shifts.tolist()), heads)


class TooLongError(Exception):
    """A search that takes more backtracks than it may."""


@dataclass
class Search:
    """Depth-first search that counts the trials without a solution."""

    rules: Rules
    backtracks: int = 0
    max_backtracks: int | None = None

    def solutions(self, start: State) -> Iterator[State]:
        """Yield every solution in the order in which the search finds them. Raises: TooLongError."""
        state = self.rules.propagate(start)
        if state is None:
            return
        if state.is_solved:
            yield state
            return
        for trial in self.rules.trials(state):
            has_solution = False
            for solution in self.solutions(trial):
                has_solution = True
                yield solution
            if not has_solution:
                self.backtracks += 1
                if self.backtracks == self.max_backtracks:
                    raise TooLongError


@cache
def rules_of(size: int) -> Rules:
    """Return the rules of the board with this many rows, built once."""
    return Rules(BOARDS[size])


def solve(grid: IntArray) -> Solution:
    """Find the first solution of a grid (S,) and count the backtracks before it.

    Naked and hidden singles are placed as long as there are any. Then the candidates of the cell with
    the fewest of them (the first of several) are tried in ascending order. A trial whose subtree holds
    no solution is one backtrack.

    Raises: PuzzleError if the grid has no solution.
    """
    search = Search(_rules_for(grid))
    for state in search.solutions(search.rules.start(grid)):
        return Solution(search.rules.grid(state), search.backtracks)
    raise PuzzleError("the puzzle has no solution; expected exactly one: check its givens")


def solutions(grid: IntArray) -> Iterator[ByteArray]:
    """Yield every solution (S,) of a grid (S,)."""
    rules = _rules_for(grid)
    found = Search(rules).solutions(rules.start(grid))
    return (rules.grid(state) for state in found)


def count_solutions(grid: IntArray, limit: int = 2, max_backtracks: int | None = None) -> int:
    """Count the solutions of a grid (S,), at most `limit`.

    Raises: TooLongError if that takes `max_backtracks`.
    """
    rules = _rules_for(grid)
    found = Search(rules, max_backtracks=max_backtracks).solutions(rules.start(grid))
    return sum(1 for _ in islice(found, limit))


def _rules_for(grid: IntArray) -> Rules:
    """Return the rules of the board of a grid (S,)."""
    num_cells = len(grid)
    sizes = (size for size, board in BOARDS.items() if board.num_cells == num_cells)
    return rules_of(next(sizes))
