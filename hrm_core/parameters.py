"""The canonical weight table: every tensor of an HRM by name, with shape, role and initial values.

Names are the published ones without prefix; linear weights are [out, in]. Everything is float32.
Symbols: V vocabulary, D hidden, T positions, I inside SwiGLU.
"""

from dataclasses import dataclass
from enum import Enum

import ml_dtypes
import numpy as np
import numpy.typing as npt

from hrm_core.config import ModelConfig
from hrm_core.draws import Purpose, stream

FloatArray = npt.NDArray[np.float32]

PUZZLE_TABLE = "puzzle_emb.weights"
INITIAL_STATES = ("H_init", "L_init")
Q_HEAD_BIAS = -5.0  # so that an untrained model never halts by itself
TRUNCATED_STD = 0.87962566103423978  # of a standard normal truncated to [-2, 2]


class Role(Enum):
    """Who moves a tensor."""

    TRAINED = "trained"  # Adam-atan2
    PUZZLE = "puzzle"  # sign-SGD on the rows in use
    CONSTANT = "constant"  # nobody


@dataclass(frozen=True)
class Parameter:
    """One tensor of the table."""

    shape: tuple[int, ...]
    role: Role
    std: float = (
        0.0  # of its initial values, drawn from a normal truncated at two standard deviations
    )
    fill: float = 0.0  # its initial value where std is 0

    @property
    def size(self) -> int:
        """Number of elements."""
        return int(np.prod(self.shape, dtype=np.int64))


def parameter_table(config: ModelConfig) -> dict[str, Parameter]:
    """Name -> tensor, in the order of the network. Source: the published checkpoints."""
    D = config.hidden_size
    table = {
        "embed_tokens.embedding_weight": Parameter(
            (config.vocab_size, D), Role.TRAINED, std=D**-0.5
        )
    }
    if config.pos_encodings == "learned":
        table["embed_pos.embedding_weight"] = Parameter(
            (config.total_len, D), Role.TRAINED, std=D**-0.5
        )
    if config.puzzle_emb_ndim:
        table[PUZZLE_TABLE] = Parameter(
            (config.num_puzzle_identifiers, config.puzzle_emb_ndim), Role.PUZZLE
        )
    levels = {"H": config.H_layers, "L": config.L_layers}
    if config.share_levels:
        del levels["H"]
    for level, layers in levels.items():
        for i in range(layers):
            table |= _block(f"{level}_level.layers.{i}", D, config.intermediate_size)
    table["lm_head.weight"] = _linear(config.vocab_size, D)
    of_q_head = Role.TRAINED if config.learns_to_halt else Role.CONSTANT
    table["q_head.weight"] = Parameter((2, D), of_q_head)
    table["q_head.bias"] = Parameter((2,), of_q_head, fill=Q_HEAD_BIAS)
    table["H_init"] = Parameter((D,), Role.CONSTANT, std=1.0)
    table["L_init"] = Parameter((D,), Role.CONSTANT, std=1.0)
    if config.patch_size:  # last: initial values are drawn by place
        table["embed_patches.weight"] = _linear(D, config.patch_size**2)
    return table


def num_trainable(config: ModelConfig) -> int:
    """Elements of the network, a Q head that fixed halting leaves as it is included; the puzzle table is not counted."""
    return sum(parameter_table(config)[name].size for name in network_weights(config))


def network_weights(config: ModelConfig) -> list[str]:
    """Names of the tensors that a forward computes with: all but the puzzle table and the initial states."""
    return [name for name in parameter_table(config) if name not in (PUZZLE_TABLE, *INITIAL_STATES)]


def initial_values(config: ModelConfig, seed: int) -> dict[str, FloatArray]:
    """The weights a run starts from, the same for every backend."""
    return {
        name: _draw(parameter, stream(seed, Purpose.INITIAL_WEIGHTS, index), config)
        for index, (name, parameter) in enumerate(parameter_table(config).items())
    }


def truncated_normal(rng: np.random.Generator, shape: tuple[int, ...], std: float) -> FloatArray:
    """Normal values truncated at two standard deviations, rescaled so that the RESULT has this `std`."""
    values = rng.standard_normal(shape, np.float32)
    outside = np.flatnonzero(np.abs(values) > 2)
    while outside.size:
        values.flat[outside] = rng.standard_normal(outside.size, np.float32)
        outside = outside[np.abs(values.flat[outside]) > 2]
    return values * np.float32(std / TRUNCATED_STD)


def _linear(out_size: int, in_size: int) -> Parameter:
    return Parameter((out_size, in_size), Role.TRAINED, std=in_size**-0.5)


def _block(prefix: str, D: int, I: int) -> dict[str, Parameter]:  # noqa: E741 - the size's usual name
    return {
        f"{prefix}.self_attn.qkv_proj.weight": _linear(3 * D, D),
        f"{prefix}.self_attn.o_proj.weight": _linear(D, D),
        f"{prefix}.mlp.gate_up_proj.weight": _linear(2 * I, D),
        f"{prefix}.mlp.down_proj.weight": _linear(D, I),
    }


def _draw(parameter: Parameter, rng: np.random.Generator, config: ModelConfig) -> FloatArray:
    if not parameter.std:
        # zeros, not full: a puzzle table of a million rows costs no memory before it is used
        return (
            np.full(parameter.shape, parameter.fill, np.float32)
            if parameter.fill
            else np.zeros(parameter.shape, np.float32)
        )
    values = truncated_normal(rng, parameter.shape, parameter.std)
    if parameter.role is Role.CONSTANT and config.forward_dtype == "bfloat16":
        return values.astype(ml_dtypes.bfloat16).astype(
            np.float32
        )  # published checkpoints store them so
    return values
