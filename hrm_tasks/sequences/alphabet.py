"""Tokens of sequences: events, and values of each column of context.

An event is written as its context, a token for each column, and then the token of what happened.
Tokens: 0 pad, then the events, then the values of the columns, column after column.
"""

from collections import Counter
from collections.abc import Sequence
from typing import Any, NamedTuple, Self

import numpy as np

from hrm_core.tasks.contract import IntArray
from hrm_tasks.sequences.read import Event, Source

PAD = 0
UNKNOWN = "<unknown>"  # what is rare in training, or only in the test


class Column(NamedTuple):
    """A column of context and its values."""

    name: str
    values: tuple[str, ...]


class Alphabet(NamedTuple):
    """Events and columns of context, of which the tokens are made."""

    events: tuple[str, ...]
    columns: tuple[Column, ...] = ()

    @property
    def vocab_size(self) -> int:
        """Return the number of tokens, padding included."""
        return 1 + len(self.events) + sum(len(column.values) for column in self.columns)

    @property
    def event_length(self) -> int:
        """Return the number of tokens of one event, its context included."""
        return len(self.columns) + 1

    @property
    def event_tokens(self) -> IntArray:
        """Return the tokens of events, which are predicted."""
        return np.arange(1, 1 + len(self.events))

    def settings(self) -> dict[str, Any]:
        """Return the alphabet as JSON can hold it."""
        columns = [[column.name, list(column.values)] for column in self.columns]
        return {"events": list(self.events), "contexts": columns}

    @classmethod
    def of_settings(cls, events: Any, contexts: Any) -> Self | None:
        """Return the alphabet that `settings` wrote; None if it is none."""
        columns = []
        for entry in contexts if isinstance(contexts, list) else [None]:
            if not isinstance(entry, list) or len(entry) != 2 or not _are_names(entry[1]):
                return None
            columns.append(Column(entry[0], tuple(entry[1])))
        names = [column.name for column in columns]
        if not _are_names(events) or not _are_names(["", *names]):
            return None
        return cls(tuple(events), tuple(columns))


def alphabet_of(source: Source, fewest: int) -> Alphabet:
    """Return the alphabet of training sequences.

    What occurs fewer than `fewest` times becomes `UNKNOWN`, if `fewest` is not 0.
    """
    events = [event for sequence in source.sequences.values() for event in sequence]
    columns = []
    for place, name in enumerate(source.columns):
        values = _names(Counter(event.contexts[place] for event in events), fewest)
        columns.append(Column(name, values))
    return Alphabet(_names(Counter(event.token for event in events), fewest), tuple(columns))


class Encoder:
    """Writes sequences of events as tokens."""

    def __init__(self, alphabet: Alphabet, with_unknown: bool) -> None:
        self._names = (*(column.name for column in alphabet.columns), "token")
        self._tokens: list[dict[str, int]] = []  # of each column of context, then of events
        first = 1 + len(alphabet.events)
        for column in alphabet.columns:
            self._tokens.append({value: first + i for i, value in enumerate(column.values)})
            first += len(column.values)
        self._tokens.append({event: 1 + i for i, event in enumerate(alphabet.events)})
        self._unknown = [table.get(UNKNOWN) if with_unknown else None for table in self._tokens]

    def encode(self, sequence: Sequence[Event]) -> IntArray:
        """Return the tokens of a sequence (n · event_length,), int32.

        Raises: UnknownValueError.
        """
        tokens = []
        for event in sequence:
            for place, value in enumerate((*event.contexts, event.token)):
                token = self._tokens[place].get(value, self._unknown[place])
                if token is None:
                    raise UnknownValueError(event.line, self._names[place], value)
                tokens.append(token)
        return np.array(tokens, np.int32)


class UnknownValueError(Exception):
    """A value that does not occur in training."""

    def __init__(self, line: int, column: str, value: str) -> None:
        super().__init__(line, column, value)
        self.line = line
        self.column = column
        self.value = value


def _names(counts: Counter[str], fewest: int) -> tuple[str, ...]:
    """Return the names of one alphabet in code-point order."""
    names = {name for name, count in counts.items() if count >= fewest}
    if fewest:
        names.add(UNKNOWN)
    return tuple(sorted(names))


def _are_names(names: Any) -> bool:
    """Return True for a list of different texts that is not empty."""
    if not isinstance(names, list) or not names:
        return False
    are_texts = all(isinstance(name, str) for name in names)
    return are_texts and len(set(names)) == len(names)
