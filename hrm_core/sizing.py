"""Parameters, operations and memory of a model, computed from its shape.

Symbols: T positions, D hidden, I inside SwiGLU.
"""

import math
from collections.abc import Iterator, Sequence

from hrm_core.config import ModelConfig, TrainConfig
from hrm_core.parameters import PUZZLE_TABLE, num_trainable, parameter_table

FLOAT_BYTES = 4
WIDTHS = {"bfloat16": 2, "float32": FLOAT_BYTES, "float64": 8}  # bytes of an activation
BLOCK_VALUES = 4 * 2**20  # logits that are reduced at once: 16 MiB in float32, 32 MiB in float64
LOSS_BLOCK_VALUES = (
    6 * 2**20
)  # logits in a block of the training loss: 24 MiB in float32, 48 MiB in float64
# share of a memory that an estimate may fill: updates take up to 1.33 times as much
FITTING = 2 / 3
LONG = 512  # positions from which on no layer keeps its attention weights for the backward pass


def flops_per_example(config: ModelConfig) -> float:
    """Floating-point operations of one ACT step of one slot in training, matrix products only.

    Both forwards (the second gives the target of Q, if it is learned) pass every cycle. The
    gradient passes each level once, or the last H cycle, at twice the cost of its forward. The
    head is counted where its vocabulary is large: once and its gradient.
    """
    D, layer = config.hidden_size, _flops_of_layer(config)
    passes = config.H_cycles * (config.L_cycles * config.L_layers + config.H_layers)
    num_forwards = 2 if config.learns_to_continue else 1
    patches = 2 * config.num_patches * (config.patch_size or 0) ** 2 * D
    head = 6 * config.seq_len * D * config.vocab_size if config.has_large_vocabulary else 0
    layers = layer * (num_forwards * passes + 2 * config.layers_with_gradient)
    return layers + 2 * patches + head  # patches: forward, and the gradient of their weight


def _flops_of_layer(config: ModelConfig) -> int:
    D, intermediate, T = config.hidden_size, config.intermediate_size, config.total_len
    return 2 * T * (4 * D * D + 3 * D * intermediate) + 4 * T * T * D


def flops_per_answer(config: ModelConfig) -> float:
    """Floating-point operations of one answer of all ACT steps, matrix products of the layers only."""
    return _flops_of_layer(config) * sum(config.layers_of_calls) * config.halt_max_steps


def cell_blocks(shape: Sequence[int]) -> Iterator[tuple[slice, slice]]:
    """Slices of slots and cells that part logits (B, S, V) into blocks.

    A block has at most BLOCK_VALUES, or one row.
    """
    num_slots, num_cells, vocab_size = shape
    rows = max(1, BLOCK_VALUES // vocab_size)
    cells = min(rows, num_cells)
    slots = max(1, rows // num_cells)
    for slot in range(0, num_slots, slots):
        for cell in range(0, num_cells, cells):
            yield slice(slot, slot + slots), slice(cell, cell + cells)


def row_blocks(num_rows: int, vocab_size: int, values: int = LOSS_BLOCK_VALUES) -> Iterator[slice]:
    """Slices that part rows of logits (N, V) into blocks.

    A block has at most so many values, or one row.
    """
    rows = max(1, values // vocab_size)
    for row in range(0, num_rows, rows):
        yield slice(row, row + rows)


def state_bytes(config: ModelConfig) -> int:
    """Memory of weights, gradients and both moments, and of the puzzle table."""
    table = parameter_table(config).get(PUZZLE_TABLE)
    return FLOAT_BYTES * (4 * num_trainable(config) + (table.size if table else 0))


def carry_bytes(config: ModelConfig, batch_size: int, dtype: str | None = None) -> int:
    """Memory of the two states of all slots and of their images.

    The dtype is the one the model was made for if none is given.
    """
    width = WIDTHS[dtype or config.forward_dtype]
    states = width * 2 * config.total_len * config.hidden_size
    return batch_size * (states + math.prod(config.image_size or (0,)))


def activation_bytes(config: ModelConfig, slots: int, dtype: str) -> int:
    """Memory of what the backward pass of so many slots needs: about so much, as kernels differ.

    A layer keeps its input, q, k and v before and after rotation, and what each projection,
    product, sum and norm gives; of short sequences the attention weights of each head, too. Those
    weights and two gradients of theirs are there for one layer at a time.
    """
    D, intermediate, T = config.hidden_size, config.intermediate_size, config.total_len
    layers = config.layers_with_gradient
    weights = config.num_heads * T * T * (3 if T >= LONG else 3 + layers)
    if config.attention == "prefix":
        weights += T * T  # the mask
    return WIDTHS[dtype] * slots * (layers * T * (12 * D + 4 * intermediate) + weights)


def update_bytes(config: ModelConfig, train: TrainConfig, dtype: str) -> int:
    """Memory of an update.

    The carry before and after it, activations and gradients of the slots that go through the
    network at once, besides weights and moments.
    """
    carries = 2 * carry_bytes(config, train.global_batch_size, dtype)
    gradients = (
        FLOAT_BYTES * num_trainable(config) if train.slots_at_once < train.global_batch_size else 0
    )  # besides their sum
    blocks = 6 * FLOAT_BYTES * LOSS_BLOCK_VALUES if config.has_large_vocabulary else 0
    average = FLOAT_BYTES * num_trainable(config) if train.ema else 0
    return (
        state_bytes(config)
        + average
        + blocks  # of logits, and what is made of them
        + carries
        + activation_bytes(config, train.slots_at_once, dtype)
        + gradients
    )


def fitting_micro_batch(
    config: ModelConfig, train: TrainConfig, dtype: str, memory: int
) -> int | None:
    """Return the most slots at once whose update fits into so many bytes with a margin.

    The slots are parted as evenly as they can be. None if not even one slot at once fits.
    """
    batch_size = train.global_batch_size
    sizes = {-(-batch_size // num_parts) for num_parts in range(1, batch_size + 1)}
    for size in sorted(sizes, reverse=True):
        if update_bytes(config, with_micro_batch(train, size), dtype) <= FITTING * memory:
            return size
    return None


def with_micro_batch(train: TrainConfig, size: int) -> TrainConfig:
    """Return the same training with so many slots in the network at once."""
    return train.model_copy(update={"micro_batch_size": size})


def fitting_text(config: ModelConfig, train: TrainConfig, dtype: str, memory: int) -> str:
    """Describe how many slots at once fit into the memory of a device, as the option to type."""
    free = f"{scaled(memory, 1024, 'KMGT')}iB of memory are free here"
    size = fitting_micro_batch(config, train, dtype, memory)
    if size is None:
        return (
            f"{free}: too little even for one slot at once; take a smaller model or a lower "
            "--batch-size"
        )
    if size == train.global_batch_size:
        return f"{free}: all {size} slots fit at once"
    needed = scaled(update_bytes(config, with_micro_batch(train, size), dtype), 1024, "KMGT")
    return f"{free}: --micro-batch {size} fits, with about {needed}iB"


def plan_text(
    config: ModelConfig, train: TrainConfig, updates: int, gemm_rate: float, dtype: str
) -> str:
    """Describe time and memory of a run on a device that multiplies at `gemm_rate` FLOP/s."""
    batch_size = train.global_batch_size
    seconds = batch_size * flops_per_example(config) / gemm_rate
    memory = scaled(update_bytes(config, train, dtype), 1024, "KMGT")
    rate = scaled(gemm_rate, 1000, "kMGTP")
    return "\n".join(
        [
            sizes_text(config, batch_size),
            f"{updates:,} updates of {batch_size} slots, {updates * batch_size:,} examples",
            f"about {memory}iB of memory in {dtype} with {train.slots_at_once} slots "
            "in the network at once (--micro-batch)",
            f"{rate}FLOP/s in products of 2048 x 2048 here: at least {duration(seconds)} an update, "
            f"{duration(updates * seconds)} in all",
        ]
    )


def evaluations_text(
    config: ModelConfig, num_evaluations: int, num_examples: int, gemm_rate: float
) -> str:
    """Describe number and time of the evaluations of a run."""
    seconds = num_examples * flops_per_answer(config) / gemm_rate
    number = "1 evaluation" if num_evaluations == 1 else f"{num_evaluations:,} evaluations"
    return (
        f"{number} of {num_examples:,} examples in {config.halt_max_steps} ACT steps: at least "
        f"{duration(seconds)} each, {duration(num_evaluations * seconds)} in all"
    )


def duration(seconds: float) -> str:
    """A time as people say it: 0.03 ms, 8.5 s, 25 min, 3.2 h, 4.1 days."""
    for size, unit in ((86400, "days"), (3600, "h"), (60, "min")):
        if seconds >= 1.5 * size:
            return f"{seconds / size:,.1f} {unit}"
    if seconds < 0.001:
        return f"{1000 * seconds:.2f} ms"
    return f"{seconds:.3g} s"


def sizes_text(config: ModelConfig, batch_size: int) -> str:
    """Describe parameters, operations and memory of a model."""
    flops = flops_per_example(config)
    of_example = scaled(flops, 1000, "kMGTP")
    of_update = scaled(flops * batch_size, 1000, "kMGTP")
    state = scaled(state_bytes(config), 1024, "KMGT")
    carry = scaled(carry_bytes(config, batch_size), 1024, "KMGT")
    table = parameter_table(config).get(PUZZLE_TABLE)
    lines = [f"{num_trainable(config):,} trainable parameters"]
    if table is not None:
        lines.append(
            f"{table.size:,} values in the puzzle table of {table.shape[0]:,} x {table.shape[1]}"
        )
    lines += [
        f"{of_example}FLOP an example, {of_update}FLOP an update of {batch_size} slots",
        f"{state}iB of weights, gradients and moments, {carry}iB of carry; activations come on top",
    ]
    return "\n".join(lines)


def scaled(value: float, base: int, prefixes: str) -> str:
    """A large number with the prefix that leaves it readable: 36.65 G."""
    exponent = min(max(int(math.log(value, base)), 1), len(prefixes))
    return f"{value / base**exponent:,.2f} {prefixes[exponent - 1]}"
