"""Report the conversion of each tensor, and of everything else."""

from collections import Counter
from dataclasses import asdict, dataclass, field
from typing import Any

KEPT = "kept"


@dataclass(frozen=True)
class Row:
    """One tensor of the destination, or one of the source that was left out."""

    name: str  # in the weight table
    stored: str  # in the source
    written: str  # in the destination; "" if it was left out
    shape: list[int]  # in the destination
    dtype: str
    actions: tuple[str, ...]  # renamed, cast, resized, derived; none: kept

    @property
    def text(self) -> str:
        """Describe the actions for a person."""
        return "; ".join(self.actions) or KEPT

    @property
    def kind(self) -> str:
        """Return dtype and shape for a person: "float32 11x512"."""
        sizes = "x".join(map(str, self.shape))
        return f"{self.dtype} {sizes}"

    @property
    def kinds(self) -> list[str]:
        """Return the first word of each action."""
        words = [action.split()[0] for action in self.actions]
        return [word.rstrip(":,") for word in words] or [KEPT]


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
    notes: list[str] = field(default_factory=list)  # assumptions, and what was left out

    @property
    def counts(self) -> dict[str, int]:
        """Count the tensors that were kept, renamed, cast, resized, derived."""
        counts: Counter[str] = Counter()
        for row in self.rows:
            counts.update(row.kinds)
        return dict(counts)

    def plain(self) -> dict[str, Any]:
        """Return the report for JSON."""
        return {**asdict(self), "counts": self.counts}

    def lines(self) -> list[str]:
        """Return the report for a person: a line a tensor, notes, a summary."""
        width = max(len(row.name) for row in self.rows)
        shape_width = max(len(row.kind) for row in self.rows)
        lines = [f"{row.name:{width}}  {row.kind:{shape_width}}  {row.text}" for row in self.rows]
        for name, (before, after) in self.changes.items():
            lines.append(f"changed: {name} {before} -> {after}")
        lines += [f"note: {note}" for note in self.notes]
        lines.append(self.summary)
        return lines

    @property
    def summary(self) -> str:
        """Describe the conversion in one line."""
        counts = ", ".join(f"{count} {kind}" for kind, count in self.counts.items())
        num_written = sum(bool(row.written) for row in self.rows)
        source = f"{self.source} ({self.source_format})"
        dest = f"{self.dest} ({self.dest_format})"
        return f"{source} -> {dest}: {num_written} tensors; {counts}"
