"""Two models held against each other on random inputs: one and what it was converted into.

Shapes: B slots, S tokens, V vocabulary of the second model, M puzzle identifiers of it.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from hrm_core.backend import Arrays, Backend, BackendOptions, Batch
from hrm_core.config import ModelConfig
from hrm_core.runs.checkpoint import Model
from hrm_parity.checks import Factory
from hrm_parity.compare import Row
from hrm_parity.limits import Verdict, judge

NUM_SLOTS = 4
NUM_STEPS = 2  # ACT steps; further ones magnify rounding in an untrained model
POSITIONS = "embed_pos.embedding_weight"

# Root mean square of the difference over that of the quantity, over all ACT steps. Measured on the paper's model, untrained
# and thus at its most sensitive; levels swapped or the heads of one layer permuted: 0.4 (q) to 1.4
LIMITS = {
    "float32": 1e-5,  #  0: the same weights in the same backend
    "float16": 0.03,  #  0.009
    "bfloat16": 0.2,  #  0.05
}


@dataclass(frozen=True)
class Comparison:
    """Result of comparing two models."""

    backend: dict[str, str]
    rows: list[Row]
    left_out: list[str]

    @property
    def differs(self) -> bool:
        """True if the models disagree by more than rounding."""
        return any(row.verdict is Verdict.BROKEN for row in self.rows)

    def plain(self) -> dict[str, Any]:
        """All of it for JSON."""
        rows = [
            {
                "quantity": row.quantity,
                "gap": row.gap,
                "where": row.where,
                "limit": row.limit,
                "verdict": row.verdict.value,
            }
            for row in self.rows
        ]
        return {
            "backend": self.backend,
            "rows": rows,
            "not_compared": self.left_out,
            "differs": self.differs,
        }

    def lines(self) -> list[str]:
        """All of it for a person."""
        lines = [
            f"verified: {row.quantity} differs by {row.gap:.1e}, limit {row.limit:g}, {row.verdict.value}"
            for row in self.rows
        ]
        lines += [f"not compared: {what}" for what in self.left_out]
        if not self.rows:
            return [*lines, "nothing was compared"]
        return [
            *lines,
            "the models differ"
            if self.differs
            else f"the models agree in {len(self.rows)} quantities",
        ]


def compare_models(
    before: Model,
    after: Model,
    make: Factory,
    dtype: str = "float32",
    identifiers: npt.NDArray[np.int64] | None = None,
    tokens: npt.NDArray[np.int64] | None = None,
    seed: int = 0,
) -> Comparison:
    """Run both from the same random inputs, as far as they have something in common.

    `dtype` is what the weights of `after` were rounded to. `identifiers` (M,) and `tokens` (V,) are the rows of `before` behind
    its puzzle vectors and tokens, negative where there is none; without them, rows keep their numbers.
    """
    pairs, left_out = _common_identifiers(before, after, identifiers)
    token_pairs, lost = _common_tokens(before.config, after.config, tokens)
    left_out += lost
    if before.config.seq_len != after.config.seq_len:
        if POSITIONS in before.weights:
            return Comparison(
                {},
                [],
                [
                    *left_out,
                    "anything: learned positions were changed, the two no longer compute the same",
                ],
            )
        left_out.append(
            f"sequences of {after.config.seq_len} tokens: both ran on {before.config.seq_len}, which RoPE allows"
        )
    for what, common in (("puzzle vector", pairs), ("token", token_pairs)):
        if not len(common[0]):
            return Comparison({}, [], [*left_out, f"anything: no {what} is in both models"])
    drawn = _draw_inputs(pairs, token_pairs, before.config, seed)
    found, described = zip(
        *(
            _run(model, batch, before.config.seq_len, shared, make)
            for model, batch, shared in zip((before, after), drawn, token_pairs, strict=True)
        ),
        strict=True,
    )
    limit, certified = (
        LIMITS[_coarsest(before.weights, after.weights, dtype)],
        described[0]["device_type"] == "cpu",
    )
    return Comparison(
        described[0],
        [_row(name, found[0][name], found[1][name], limit, certified) for name in found[0]],
        left_out,
    )


def _common_identifiers(
    before: Model, after: Model, identifiers: npt.NDArray[np.int64] | None
) -> tuple[tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]], list[str]]:
    """Pairs of identifiers with the same vector, and what is left out."""
    if not before.config.puzzle_emb_ndim:
        return (np.zeros(1, np.int64), np.zeros(1, np.int64)), []
    rows = np.arange(before.config.num_puzzle_identifiers) if identifiers is None else identifiers
    kept = np.flatnonzero(rows >= 0)
    new = len(rows) - len(kept)
    return (rows[kept], kept), [f"{new} new puzzle identifiers"] if new else []


def _common_tokens(
    before: ModelConfig, after: ModelConfig, rows: npt.NDArray[np.int64] | None
) -> tuple[tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]], list[str]]:
    """Pairs of tokens with the same rows, and what is left out."""
    if rows is not None:
        kept = np.flatnonzero(rows >= 0)
        cut, new = before.vocab_size - len(kept), len(rows) - len(kept)
        left_out = f"tokens that only one of the models knows by their text: {cut} and {new}"
        return (rows[kept], kept), [left_out] if cut or new else []
    shared = np.arange(min(before.vocab_size, after.vocab_size))
    if before.vocab_size == after.vocab_size:
        return (shared, shared), []
    return (shared, shared), [f"tokens from {len(shared)} on, which only one of the models knows"]


def _draw_inputs(
    pairs: tuple[Any, Any], token_pairs: tuple[Any, Any], config: ModelConfig, seed: int
) -> list[Batch]:
    """The same text for both models, in the tokens and puzzle identifiers that each has for it."""
    rng = np.random.Generator(np.random.Philox(seed))
    drawn = rng.integers(0, len(token_pairs[0]), (NUM_SLOTS, config.num_cells), np.int32)
    chosen = rng.integers(0, len(pairs[0]), NUM_SLOTS)
    prefix_len = np.linspace(0, config.seq_len, NUM_SLOTS).astype(np.int32)
    images = rng.integers(0, 256, (NUM_SLOTS, *(config.image_size or ())), np.uint8)
    batches = []
    for ids, numbers in zip(pairs, token_pairs, strict=True):
        tokens = numbers[drawn].astype(np.int32)
        batches.append(Batch(tokens, tokens, ids[chosen].astype(np.int32), prefix_len, images))
    return batches


def _run(
    model: Model, batch: Batch, seq_len: int, tokens: npt.NDArray[np.int64], make: Factory
) -> tuple[Arrays, dict[str, str]]:
    """Some ACT steps in float32. Each array is (NUM_STEPS, B, ...)."""
    backend: Backend = make(
        model.config.model_copy(update={"seq_len": seq_len}), BackendOptions(dtype="float32")
    )
    backend.load_weights(model.weights)
    carry, steps = backend.begin(batch), []
    for _ in range(NUM_STEPS):
        carry, answers = backend.step(carry)
        state = backend.carry_arrays(carry)
        q = np.stack([answers.q_halt_logits, answers.q_continue_logits], axis=-1)
        step = {
            "logits": answers.logits[..., tokens],
            "q": q,
            "z_H": state["z_H"],
            "z_L": state["z_L"],
        }
        steps.append({name: np.asarray(value, np.float64) for name, value in step.items()})
    return {name: np.stack([step[name] for step in steps]) for name in steps[0]}, backend.describe()


def _coarsest(before: Arrays, after: Arrays, dtype: str) -> str:
    """The dtype that tells the two models apart: published checkpoints round the initial states alone."""
    rounded = any(not np.array_equal(before[name], after[name]) for name in ("H_init", "L_init"))
    return "bfloat16" if dtype == "float32" and rounded else dtype


def _row(
    name: str,
    before: npt.NDArray[np.float64],
    after: npt.NDArray[np.float64],
    limit: float,
    certified: bool,
) -> Row:
    differences = np.abs(after - before)
    gap = float(np.sqrt(np.square(differences).mean() / (np.square(before).mean() or 1.0)))
    place = np.unravel_index(
        int(np.nan_to_num(differences, nan=np.inf).argmax()), differences.shape
    )
    where = f"{name}{[int(i) for i in place]}" if gap else ""
    return Row(f"{name} (rms, relative)", gap, where, limit, judge(gap, limit, certified))
