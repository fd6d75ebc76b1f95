"""What became of each tensor, and of everything else, in a conversion."""

from collections import Counter
from dataclasses import asdict, dataclass, field
from typing import Any

KEPT = "kept"


@dataclass(frozen=True)
class Row:
    """One tensor of the destination, or one of the source that did not travel."""

    name: str  # in the weight table
    stored: str  # in the source
    written: str  # in the destination; "" if it was left out
    shape: list[int]  # in the destination
    dtype: str
    actions: tuple[str, ...]  # renamed, cast, resized, derived; none: kept

    @property
    def text(self) -> str:
        """What happened, for a person."""
        return "; ".join(self.actions) or KEPT

    @property
    def kinds(self) -> list[str]:
        """The first word of each action."""
        return [action.split()[0].rstrip(":,") for action in self.actions] or [KEPT]


@dataclass
class Report:
    """A conversion, tensor by tensor."""

    source: str
    source_format: str
    dest: str
    dest_format: str
    task: str
    config: dict[str, Any]
    changes: dict[str, tuple[Any, Any]]  # settings of the model that changed: before, after
    rows: list[Row]
    notes: list[str] = field(default_factory=list)  # what was assumed, and what did not travel

    @property
    def counts(self) -> dict[str, int]:
        """How many tensors were kept, renamed, cast, resized, derived."""
        return dict(Counter(kind for row in self.rows for kind in row.kinds))

    def plain(self) -> dict[str, Any]:
        """The whole of it for JSON."""
        return {**asdict(self), "counts": self.counts}

    def lines(self) -> list[str]:
        """The whole of it for a person: a line a tensor, notes, a summary."""
        width = max(len(row.name) for row in self.rows)
        shapes = [f"{row.dtype} {'x'.join(map(str, row.shape))}" for row in self.rows]
        shape_width = max(map(len, shapes))
        lines = [
            f"{row.name:{width}}  {shape:{shape_width}}  {row.text}"
            for row, shape in zip(self.rows, shapes, strict=True)
        ]
        lines += [
            f"changed: {name} {before} -> {after}" for name, (before, after) in self.changes.items()
        ]
        lines += [f"note: {note}" for note in self.notes]
        return [*lines, self.summary]

    @property
    def summary(self) -> str:
        """The conversion in one line."""
        counts = ", ".join(f"{count} {kind}" for kind, count in self.counts.items())
        written = sum(bool(row.written) for row in self.rows)
        return f"{self.source} ({self.source_format}) -> {self.dest} ({self.dest_format}): {written} tensors; {counts}"
