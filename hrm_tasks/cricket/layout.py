"""The layout of an innings as a row of tokens: 21 chunks, a chunk is an over.

    prefix       the fields of alphabet.FIELDS, then the last 12 outcomes of the previous chunk,
                 padded on the left
    12 slots     S what is known before a ball, O its outcome; the label stands at S

Padding comes last, so nothing tells how many balls an over will have. An over of more than 12
deliveries goes on in another chunk.

Shapes: M innings, T balls of the longest one, C = 21 chunks of S = `SEQ_LEN` tokens.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from hrm_core.errors import DataError
from hrm_tasks.cricket.alphabet import (
    FIELDS,
    FIRST_OUTCOME,
    PAD,
    START,
    Edges,
    before_tokens,
    forget_players,
    prefix_tokens,
)
from hrm_tasks.cricket.context import Played
from hrm_tasks.cricket.scoreboard import BoolArray, IntArray, taken

NUM_CHUNKS = 21  # 20 overs, and one to spare
NUM_SLOTS = 12  # balls of a chunk
NUM_FIELDS = len(FIELDS)
PREFIX_LEN = NUM_FIELDS + NUM_SLOTS
SEQ_LEN = PREFIX_LEN + 2 * NUM_SLOTS
NUM_CELLS = NUM_CHUNKS * SEQ_LEN
OUTCOME_POSITIONS = tuple(PREFIX_LEN + 2 * slot for slot in range(NUM_SLOTS))
NUM_PLACES = NUM_CHUNKS * NUM_SLOTS  # where outcomes are predicted, in an innings


class Places(NamedTuple):
    """Where each ball of M innings stands. Shapes: (M, T)."""

    chunk: IntArray
    slot: IntArray
    first: IntArray  # the ball that its chunk begins with


def place_balls(played: Played, names: Sequence[str]) -> Places:
    """Find chunk and slot of each ball; `names` are those of the matches, for messages.

    Raises: DataError if an innings needs more than 21 chunks.
    """
    bowled = played.bowled
    over = played.state.over
    chunk = np.zeros(over.shape, np.int64)
    slot = np.zeros(over.shape, np.int64)
    first = np.zeros(over.shape, np.int64)
    for ball in range(1, over.shape[1]):
        is_new = over[:, ball] != over[:, ball - 1]
        is_new |= slot[:, ball - 1] == NUM_SLOTS - 1
        chunk[:, ball] = chunk[:, ball - 1] + is_new
        slot[:, ball] = np.where(is_new, 0, slot[:, ball - 1] + 1)
        first[:, ball] = np.where(is_new, ball, first[:, ball - 1])
    num_chunks = np.where(bowled, chunk + 1, 0).max(axis=1, initial=0)
    if num_chunks.max(initial=0) > NUM_CHUNKS:
        row = int(num_chunks.argmax())
        raise DataError(
            f"match {names[played.match[row]]}, innings {played.state.innings[row, 0] + 1}: "
            f"{num_chunks[row]} overs or parts of {NUM_SLOTS} balls, expected at most {NUM_CHUNKS}"
        )
    return Places(chunk, slot, first)


def write_rows(
    played: Played,
    places: Places,
    edges: Edges,
    forgotten: tuple[BoolArray, BoolArray] | None = None,
) -> tuple[IntArray, IntArray]:
    """Write innings as inputs and labels, (M, C * S) each; labels are PAD where there is none.

    `forgotten` marks batters and bowlers, (M, P) each, whose histories are made unknown.
    """
    row, ball = np.nonzero(played.bowled)
    chunk, slot, first = (values[row, ball] for values in places)
    state = taken(played.state, (row, ball))
    is_first = ball == first
    inputs = np.full((len(played.match), NUM_CHUNKS, SEQ_LEN), PAD, np.int64)
    labels = np.full_like(inputs, PAD)
    starts = taken(state, is_first)
    if forgotten is not None:
        starts = forget_players(starts, *(mask[row[is_first]] for mask in forgotten))
    inputs[row[is_first], chunk[is_first], :NUM_FIELDS] = prefix_tokens(starts, edges)
    outcome = FIRST_OUTCOME + played.balls.outcome[row, ball]
    _write_previous(inputs, row, chunk, slot, outcome)
    position = PREFIX_LEN + 2 * slot
    striker, partner = played.state.striker[row, first], played.state.partner[row, first]
    inputs[row, chunk, position] = before_tokens(state, striker, partner)
    inputs[row, chunk, position + 1] = outcome
    labels[row, chunk, position] = outcome
    return inputs.reshape(-1, NUM_CELLS), labels.reshape(-1, NUM_CELLS)


def _write_previous(
    inputs: IntArray, row: IntArray, chunk: IntArray, slot: IntArray, outcome: IntArray
) -> None:
    """Write the outcomes of each chunk before the balls of the next one, padded on the left."""
    num_balls = np.zeros(inputs.shape[:2], np.int64)
    np.add.at(num_balls, (row, chunk), 1)
    is_used = num_balls > 0
    inputs[is_used, NUM_FIELDS:PREFIX_LEN] = START
    next_chunk = chunk + 1
    has_next = next_chunk < NUM_CHUNKS
    has_next[has_next] = is_used[row[has_next], next_chunk[has_next]]
    position = PREFIX_LEN - num_balls[row, chunk] + slot
    rows = row[has_next], next_chunk[has_next], position[has_next]
    inputs[rows] = outcome[has_next]
