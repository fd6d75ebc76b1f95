"""What a model costs: parameters, operations and memory, worked out from its shape.

Symbols: T positions, D hidden, I inside SwiGLU.
"""

from hrm_core.config import ModelConfig
from hrm_core.parameters import PUZZLE_TABLE, num_trainable, parameter_table

FLOAT_BYTES = 4


def flops_per_example(config: ModelConfig) -> float:
    """Floating-point operations of one ACT step of one slot in training, matrix products only.

    Both forwards (the second gives the target of Q) pass every cycle; the gradient passes each level once, at
    twice the cost of its forward.
    """
    D, intermediate, T = config.hidden_size, config.intermediate_size, config.total_len
    layer = 2 * T * (4 * D * D + 3 * D * intermediate) + 4 * T * T * D
    passes = config.H_cycles * (config.L_cycles * config.L_layers + config.H_layers)
    num_forwards = 2 if config.halt_max_steps > 1 else 1
    return layer * (num_forwards * passes + 2 * (config.H_layers + config.L_layers))


def state_bytes(config: ModelConfig) -> int:
    """Memory of weights, gradients and both moments, and of the puzzle table."""
    table = parameter_table(config).get(PUZZLE_TABLE)
    return FLOAT_BYTES * (4 * num_trainable(config) + (table.size if table else 0))


def carry_bytes(config: ModelConfig, batch_size: int) -> int:
    """Memory of the two states of all slots."""
    width = 2 if config.forward_dtype == "bfloat16" else FLOAT_BYTES
    return 2 * batch_size * config.total_len * config.hidden_size * width


def sizes_text(config: ModelConfig, batch_size: int) -> str:
    """What a person wants to know before training."""
    gflop = flops_per_example(config) / 1e9
    table = parameter_table(config).get(PUZZLE_TABLE)
    lines = [f"{num_trainable(config):,} trainable parameters"]
    if table is not None:
        lines.append(f"{table.size:,} values in the puzzle table of {table.shape[0]:,} x {table.shape[1]}")
    lines += [
        f"{gflop:,.2f} GFLOP an example, {gflop * batch_size / 1e3:,.2f} TFLOP an update of {batch_size} slots",
        f"{state_bytes(config) / 2**30:.2f} GiB of weights, gradients and moments, "
        f"{carry_bytes(config, batch_size) / 2**20:.0f} MiB of carry; activations come on top",
    ]
    return "\n".join(lines)
