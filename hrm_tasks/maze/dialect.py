"""The characters that people draw mazes with.

One character stands for a wall, one pair for start and goal. Open cells are blanks and dots, or zeros.
"""

from collections.abc import Mapping

CANONICAL = {"#": "#", " ": " ", ".": " ", "S": "S", "G": "G"}
WALLS = "#█■▓1Xx*"  # the first of them that occurs; then the others are no cells
OPEN = " ."
ZERO = "0"  # an open cell where there is none of `OPEN`
ENDS = (("S", "G"), ("S", "E"), ("A", "B"), ("2", "3"))  # in large or small letters
BETWEEN_DIGITS = str.maketrans("", "", "[](),; \t")
MEANINGS = {"#": "a wall", " ": "open", "S": "the start", "G": "the goal"}


def dialect_of(cells: str) -> Mapping[str, str]:
    """Return the meaning of each character of a maze: "#" a wall, " " open, "S" start, "G" goal."""
    found = set(cells)
    wall = next((character for character in WALLS if character in found), "#")
    is_zero_open = ZERO in found and not found.intersection(OPEN)
    open_cells = ZERO if is_zero_open else OPEN
    start, goal = _ends_of({character.upper() for character in found})
    return {
        wall: "#",
        **dict.fromkeys(open_cells, " "),
        **dict.fromkeys((start, start.lower()), "S"),
        **dict.fromkeys((goal, goal.lower()), "G"),
    }


def _ends_of(found: set[str]) -> tuple[str, str]:
    """Return the pair of start and goal that occurs, or of which one does; else S and G."""
    for num_needed in (2, 1):
        for pair in ENDS:
            if len(found.intersection(pair)) >= num_needed:
                return pair
    return ENDS[0]


def described(dialect: Mapping[str, str], cells: str) -> str:
    """Say what the characters of some cells mean that are not those of our own mazes; "" if all are."""
    meanings = [
        f"{character} is {MEANINGS[meaning]}"
        for character, meaning in dialect.items()
        if character in cells and CANONICAL.get(character) != meaning
    ]
    return ", ".join(meanings)


def without_separators(text: str) -> str:
    """Remove brackets, commas and blanks between cells that are digits, if there are any.

    Other mazes have blanks for cells.
    """
    joined = text.translate(BETWEEN_DIGITS)
    is_of_digits = ZERO in joined and set(joined) <= {*"0123", *"\r\n"}
    return joined if is_of_digits else text
