"""The models that a machine is certified on, and the shared state that every backend makes the same update from.

Everything is drawn from one seed by numpy, so a report from another machine is about the same numbers.
Shapes: B slots, S tokens, T positions, D hidden, E `puzzle_emb_ndim`, V vocabulary.
"""

from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np

from hrm_core.backend import IGNORE_LABEL_ID, AnyArray, Arrays, Batch
from hrm_core.config import ModelConfig, OptimConfig
from hrm_core.parameters import PUZZLE_TABLE, Role, initial_values, parameter_table
from hrm_core.schedule import Rates, average_decay, rates

SEED = 0
SLOTS = 6
UPDATE = 3  # the update that is made from the shared state, so that the bias corrections count
MARGIN = 1e-3  # how far the closest decision is from the other one: a hundred times the limit of q

# Large rates and decay: what an optimizer does in the wrong order then shows far above rounding.
OPTIM = OptimConfig(
    lr=1e-2, lr_warmup_steps=0, weight_decay=0.5, puzzle_emb_lr=1e-2, puzzle_emb_weight_decay=0.5
)
INITIAL_OPTIM = OptimConfig(
    lr=1e-3, lr_warmup_steps=0, weight_decay=0.1, puzzle_emb_lr=1e-2, puzzle_emb_weight_decay=0.1
)


class Configuration(NamedTuple):
    """One model to certify on."""

    name: str
    about: str
    model: ModelConfig
    is_paper: bool = (
        False  # of the paper's size: there the noise of PyTorch's float32 decides as well
    )
    ema: float | None = None  # decay of an average of the weights


@dataclass(frozen=True, eq=False)
class Situation:
    """All that one update starts from."""

    weights: Arrays
    state: Arrays | None  # as `Backend.load_state` takes it; None: fresh
    batch: Batch
    min_steps: AnyArray  # (B,) int32
    optim: OptimConfig
    rates: Rates


def _model(
    hidden_size: int, layers: int, seq_len: int, vocab_size: int, **others: object
) -> ModelConfig:
    sizes = {
        "hidden_size": hidden_size,
        "H_layers": layers,
        "L_layers": layers,
        "seq_len": seq_len,
        "vocab_size": vocab_size,
    }
    return ModelConfig.model_validate(
        {**sizes, "num_puzzle_identifiers": 9, "forward_dtype": "float32", **others}
    )


def _small(**others: object) -> ModelConfig:
    return _model(64, 1, 16, 7, **{"num_heads": 2, "halt_max_steps": 4, **others})


def _medium(**others: object) -> ModelConfig:
    return _model(256, 2, 81, 11, **{"num_heads": 4, "halt_max_steps": 8, **others})


def _paper(**others: object) -> ModelConfig:
    return _model(512, 4, 81, 11, **{"num_heads": 8, "num_puzzle_identifiers": 1, **others})


LEARNED, SOFTMAX = {"pos_encodings": "learned"}, {"loss_type": "softmax_cross_entropy"}

BEYOND = (  # a model with each field beyond the published network
    Configuration(
        "fixed halting", "a Q head that is not trained", _small(puzzle_emb_ndim=64, halting="fixed")
    ),
    Configuration(
        "token average",
        "every label weighs the same, whatever row it is in",
        _small(puzzle_emb_ndim=0, loss_average="token"),
    ),
    Configuration(
        "causal",
        "positions see those up to them, two puzzle slots",
        _small(puzzle_emb_ndim=96, halting="fixed", attention="causal"),
    ),
    Configuration(
        "prefix",
        "learned positions, softmax, a prefix of another length in each row",
        _small(puzzle_emb_ndim=64, halting="fixed", attention="prefix", **LEARNED, **SOFTMAX),
    ),
    Configuration(
        "chunks",
        "three chunks of a step each, the last one of two; it halts by Q",
        _small(puzzle_emb_ndim=64, num_chunks=3),
    ),
    Configuration(
        "chunks, prefix",
        "two chunks of two steps each, fixed halting, slots that begin on different chunks",
        _small(
            puzzle_emb_ndim=64,
            num_chunks=2,
            steps_per_chunk=2,
            halting="fixed",
            attention="prefix",
            loss_average="token",
        ),
    ),
    Configuration(
        "patches",
        "an overview and two strips of a picture, tokens behind the patches",
        _small(
            puzzle_emb_ndim=64,
            num_chunks=3,
            image_size=(6, 12),
            patch_size=2,
            first_chunk="overview",
        ),
    ),
    Configuration(
        "patches, frames",
        "two frames, learned positions, no puzzle table",
        _small(puzzle_emb_ndim=0, num_chunks=2, image_size=(2, 8, 8), patch_size=2, **LEARNED),
    ),
    Configuration(
        "average of weights",
        "an exponential moving average of the weights",
        _small(puzzle_emb_ndim=64),
        ema=0.9,
    ),
    Configuration(
        "halting alone",
        "no q_continue: a slot halts when q_halt > 0",
        _small(puzzle_emb_ndim=64, q_continue=False),
    ),
    Configuration(
        "gradient of a cycle",
        "through all calls of the last of two H cycles, three of L and one of H",
        _small(puzzle_emb_ndim=64, L_cycles=3, gradient="cycle"),
    ),
    Configuration(
        "shared levels",
        "one network of two layers for both levels",
        _small(puzzle_emb_ndim=64, H_layers=2, L_layers=2, share_levels=True),
    ),
    Configuration(
        "large vocabulary",
        "50,265 tokens, softmax, losses and gradients in blocks of rows",
        _model(32, 1, 48, 50265, num_heads=2, halt_max_steps=4, puzzle_emb_ndim=32, **SOFTMAX),
    ),
)

CONFIGURATIONS = (
    Configuration(
        "small, RoPE", "stablemax, a puzzle vector padded to two slots", _small(puzzle_emb_ndim=96)
    ),
    Configuration(
        "small, learned",
        "softmax, one puzzle slot, 1 H cycle, 3 L cycles",
        _small(puzzle_emb_ndim=64, H_cycles=1, L_cycles=3, **LEARNED, **SOFTMAX),
    ),
    Configuration(
        "small, no table",
        "RoPE, softmax, no puzzle table, 3 H cycles, 1 L cycle",
        _small(puzzle_emb_ndim=0, H_cycles=3, L_cycles=1, **SOFTMAX),
    ),
    Configuration(
        "small, one step",
        "learned, stablemax, a single ACT step, two L layers",
        _small(puzzle_emb_ndim=40, halt_max_steps=1, L_layers=2, **LEARNED),
    ),
    *BEYOND,
    Configuration(
        "medium, RoPE",
        "stablemax, a puzzle vector padded to two slots",
        _medium(puzzle_emb_ndim=300),
    ),
    Configuration(
        "medium, learned",
        "softmax, no puzzle table",
        _medium(puzzle_emb_ndim=0, **LEARNED, **SOFTMAX),
    ),
    Configuration(
        "paper",
        "the paper's Sudoku: RoPE, stablemax, 27,275,266 parameters",
        _paper(puzzle_emb_ndim=512),
        is_paper=True,
    ),
)


def shared_situation(config: ModelConfig) -> Situation:
    """A state as in the middle of training: slots at every kind of ACT step, equal identifiers, cells and a slot without labels.

    Slots 0 and 1 have halted and take their row; 2 goes on, as exploration forbids it to halt; 3 and 4 are at their last step;
    5 may halt and has no label at all. Moments are still zero and decisions may be close: see `settled`.
    """
    rng = np.random.default_rng(SEED)
    weights = _weights(config, rng)
    ids = config.num_puzzle_identifiers
    offered, held = (
        np.array(row, np.int32) % ids for row in ([1, 2, 5, 6, 7, 8], [4, 4, 2, 3, 3, 0])
    )
    labels = _labels(rng, config)
    labels[5] = IGNORE_LABEL_ID
    if config.num_chunks > 1:  # a last chunk without labels
        labels[4, -config.seq_len :] = IGNORE_LABEL_ID
    last = config.halt_max_steps - 1
    state = {
        **{
            f"{moment}.{name}": np.zeros_like(weights[name])
            for moment in "mv"
            for name in _trained(config)
        },
        "carry.z_H": _states(rng, config),
        "carry.z_L": _states(rng, config),
        "carry.steps": np.array([last + 1, 1, min(1, last), last, last, min(1, last)], np.int32),
        "carry.halted": np.array([True, True, False, False, False, False]) | (last == 0),
        "carry.inputs": _inputs(rng, config),
        "carry.labels": labels,
        "carry.puzzle_identifiers": held,
    }
    min_steps = np.array([0, 0, config.halt_max_steps, 0, 2, 0], np.int32) * (last > 0)
    if config.attention == "prefix":
        state["carry.prefix_len"] = _prefix_lengths(config)[::-1].copy()
    batch = Batch(
        _inputs(rng, config), _labels(rng, config), offered, prefix_len=_prefix_lengths(config)
    )
    if config.patch_size:
        state["carry.images"] = draw_images(rng, SLOTS, config)
        batch = replace(batch, images=draw_images(rng, SLOTS, config))
    return Situation(weights, state, batch, min_steps, OPTIM, rates(UPDATE, 10, OPTIM))


def settled(situation: Situation, answers: Arrays, config: ModelConfig) -> Situation:
    """The same situation with moments, and with no decision too close to call, from what an update made of it.

    Moments are of the size of the gradients. The bias of q_halt moves so that slot 5 halts by `MARGIN`; slot 3 is answered exactly
    right; a cell whose two best tokens are close is not scored. None of this changes logits or states.
    """
    difference = answers["q_halt_logits"][5] - answers["q_continue_logits"][5]
    shift = np.array([MARGIN - difference, 0], np.float32)
    weights = {**situation.weights, "q_head.bias": situation.weights["q_head.bias"] + shift}
    logits = np.sort(answers["logits"], axis=-1)
    is_close = logits[..., -1] - logits[..., -2] < MARGIN  # (B, S)
    best = answers["logits"].argmax(axis=-1).astype(np.int32)

    chunk = _chunk_worked_on(situation, config)

    def relabelled(labels: AnyArray) -> AnyArray:
        chunks = labels.reshape(SLOTS, config.num_chunks, config.seq_len).copy()
        rows = np.arange(SLOTS)
        current = chunks[rows, chunk]
        current = np.where(rows[:, None] == 3, best, current)
        chunks[rows, chunk] = np.where(is_close, np.int32(IGNORE_LABEL_ID), current)
        return chunks.reshape(labels.shape)

    assert situation.state is not None
    state = {
        **situation.state,
        **_moments(answers),
        "carry.labels": relabelled(situation.state["carry.labels"]),
    }
    batch = replace(situation.batch, labels=relabelled(situation.batch.labels))
    return replace(situation, weights=weights, state=state, batch=batch)


def _chunk_worked_on(situation: Situation, config: ModelConfig) -> AnyArray:
    """The chunk of each slot in the update that a situation starts. Shapes: (B,)."""
    assert situation.state is not None
    steps = np.where(situation.state["carry.halted"], 0, situation.state["carry.steps"])
    chunk: AnyArray = np.minimum(steps // config.steps_per_chunk, config.num_chunks - 1)
    return chunk


def initial_situation(config: ModelConfig) -> Situation:
    """The first update from the published initialisation."""
    rng = np.random.default_rng(SEED)
    batch = Batch(
        _inputs(rng, config),
        _labels(rng, config),
        np.arange(SLOTS, dtype=np.int32) % 4 % config.num_puzzle_identifiers,
        prefix_len=_prefix_lengths(config),
        images=draw_images(rng, SLOTS, config) if config.patch_size else None,
    )
    return Situation(
        initial_values(config, SEED),
        None,
        batch,
        np.zeros(SLOTS, np.int32),
        INITIAL_OPTIM,
        rates(1, 10, INITIAL_OPTIM),
    )


def averaging(situation: Situation, ema: float | None, update: int) -> Situation:
    """The same situation with an average of the weights, which begins with those before the update."""
    if ema is None:
        return situation
    scalars = situation.rates._replace(average_decay=average_decay(ema, update))
    return replace(situation, rates=scalars)


def _weights(config: ModelConfig, rng: np.random.Generator) -> dict[str, AnyArray]:
    """Initial values, with puzzle vectors and a Q head that have been trained."""
    weights: dict[str, AnyArray] = dict(initial_values(config, SEED))
    weights["q_head.weight"] = normal(rng, weights["q_head.weight"].shape, config.hidden_size**-0.5)
    weights["q_head.bias"] = np.array([0.1, -0.1], np.float32)
    if PUZZLE_TABLE in weights:
        weights[PUZZLE_TABLE] = normal(rng, weights[PUZZLE_TABLE].shape, config.hidden_size**-0.5)
    return weights


def _moments(answers: Arrays) -> dict[str, AnyArray]:
    """Moments in each tensor of the size of its gradients; none where a gradient is zero, as of a token that never occurs."""
    rng = np.random.default_rng(SEED)
    moments: dict[str, AnyArray] = {}
    for name in (
        name.removeprefix("grad/")
        for name in answers
        if name.startswith("grad/") and name != f"grad/{PUZZLE_TABLE}"
    ):
        gradient = answers[f"grad/{name}"]
        size = np.sqrt(np.square(gradient, dtype=np.float64).mean(dtype=np.float64))
        m, v = (
            normal(rng, gradient.shape, 0.3 * size),
            (0.5 + rng.random(gradient.shape, np.float32)) * np.float32(size**2),
        )
        moments |= {
            f"m.{name}": np.where(gradient == 0, np.float32(0), m),
            f"v.{name}": np.where(gradient == 0, np.float32(0), v),
        }
    return moments


def _trained(config: ModelConfig) -> list[str]:
    return [
        name
        for name, parameter in parameter_table(config).items()
        if parameter.role is Role.TRAINED
    ]


def _states(rng: np.random.Generator, config: ModelConfig) -> AnyArray:
    """States of root mean square 1 at every position, as the norm leaves them. Shapes: (B, T, D)."""
    z = normal(rng, (SLOTS, config.total_len, config.hidden_size), 1.0)
    scaled: AnyArray = z / np.sqrt(np.square(z).mean(axis=-1, keepdims=True))
    return scaled


def _inputs(rng: np.random.Generator, config: ModelConfig) -> AnyArray:
    """Tokens of all kinds but the last. Shapes: (B, S)."""
    return rng.integers(0, config.vocab_size - 1, (SLOTS, config.num_cells), np.int32)


def _labels(rng: np.random.Generator, config: ModelConfig) -> AnyArray:
    """Tokens of all kinds, a fifth of the cells without one. Shapes: (B, S)."""
    labels = rng.integers(0, config.vocab_size, (SLOTS, config.num_cells), np.int32)
    return np.where(rng.random(labels.shape) < 0.2, np.int32(IGNORE_LABEL_ID), labels)


def draw_images(rng: np.random.Generator, count: int, config: ModelConfig) -> AnyArray:
    """Pictures of all brightnesses. Shapes: (B, H, W) or (B, C, H, W) uint8."""
    return rng.integers(0, 256, (count, *(config.image_size or ())), np.uint8)


def _prefix_lengths(config: ModelConfig) -> AnyArray:
    """From no cell to all of them. Shapes: (B,)."""
    return np.linspace(0, config.seq_len, SLOTS).astype(np.int32)


def normal(rng: np.random.Generator, shape: tuple[int, ...], std: float) -> AnyArray:
    """Normal values, float32."""
    return rng.standard_normal(shape, np.float32) * np.float32(std)
