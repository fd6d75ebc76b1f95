"""Processor time of an update with MLX on a CPU by kind of operation.

python -m benchmarks.operations --preset sudoku-9x9

Each operation runs alone, in one thread, at the shapes of the model and counts as often as an update has it.
Shapes: B slots, T positions, D hidden, N heads, h = D / N, I inside SwiGLU.
"""

import argparse
import json
import time
from collections.abc import Callable, Sequence

import hrm_mlx  # before mlx: it loads the BLAS

# isort: split
import mlx.core as mx

from hrm_core.config import ModelConfig, OptimConfig, load_config, validated
from hrm_core.parameters import num_trainable
from hrm_core.schedule import rates
from hrm_core.sizing import flops_per_example
from hrm_mlx.kernels import packed, silu
from hrm_mlx.layers import RotaryEmbedding, rms_norm
from hrm_mlx.optim import adam_atan2, scalars

OPTIMIZED = 2**20  # elements that the optimizer is measured with
Operation = tuple[str, float, Callable[[], object]]  # kind, times an update, what runs
Both = tuple[Callable[[], object], Callable[[], object]]  # forward and backward
Function = Callable[..., list[mx.array]]


def operations(config: ModelConfig, optim: OptimConfig, batch_size: int) -> list[Operation]:
    """The operations of an update, forward and backward."""
    passes = config.H_cycles * (config.L_cycles * config.L_layers + config.H_layers)
    forward = passes * (2 if config.learns_to_continue else 1)
    backward = config.layers_with_gradient
    size = batch_size * config.total_len
    inputs = [normal(size, width) for width in widths(config)]
    found: list[Operation] = []
    for kind, often, there, back in (
        ("matrix products of the layers", 1, *products(config, inputs)),
        ("products of attention", 1, *attention(config, batch_size)),
        ("softmax", 1, *softmax(config, batch_size)),
        ("gate of SwiGLU", 1, *gate(inputs)),
        ("heads and rotation", 1, *heads(config, batch_size, inputs)),
        ("norms and sums", 2, *norms(config, inputs)),
    ):
        found += [(kind, often * forward, there), (kind, often * backward, back)]
    found.append(("optimizer", num_trainable(config) / OPTIMIZED, optimizer(optim)))
    return found


def normal(*shape: int) -> mx.array:
    """Normal values that are there before time is taken."""
    array = mx.random.normal(shape, key=mx.random.key(0))
    mx.eval(array)
    return array


def widths(config: ModelConfig) -> tuple[int, int, int, int]:
    """Elements a position: of the state, of q, k and v, of both halves of the gate, of the gated half."""
    D, inner = config.hidden_size, config.intermediate_size
    return D, 3 * D, 2 * inner, inner


def products(config: ModelConfig, inputs: Sequence[mx.array]) -> Both:
    """The four products of a block; backward of the input and of the weight of each."""
    x, qkv, gates, gated = inputs
    D, of_qkv_size, of_gates_size, inner = widths(config)
    of_qkv, of_o = normal(of_qkv_size, D), normal(D, D)
    of_gates, of_down = normal(of_gates_size, D), normal(D, inner)

    def back() -> object:
        of_inputs = qkv @ of_qkv, x @ of_o, gates @ of_gates, x @ of_down
        return of_inputs, (qkv.T @ x, x.T @ x, gates.T @ x, x.T @ gated)

    return lambda: [x @ of_qkv.T, x @ of_o.T, x @ of_gates.T, gated @ of_down.T], back


def both(function: Function, given: Sequence[mx.array], cotangents: Sequence[mx.array]) -> Both:
    """A function, and its gradient."""
    return (
        lambda: function(*given),
        lambda: mx.vjp(function, list(given), list(cotangents))[1],
    )


def attention(config: ModelConfig, batch_size: int) -> Both:
    """Scores from queries and keys, values by their weights."""
    q, scores = queries(config, batch_size), weights(config, batch_size)

    def run(q: mx.array, weights: mx.array) -> list[mx.array]:
        return [(q * config.head_dim**-0.5) @ q.swapaxes(-1, -2), weights @ q]

    return both(run, [q, scores], [scores, q])


def queries(config: ModelConfig, batch_size: int) -> mx.array:
    return normal(batch_size, config.num_heads, config.total_len, config.head_dim)


def weights(config: ModelConfig, batch_size: int) -> mx.array:
    return normal(batch_size, config.num_heads, config.total_len, config.total_len)


def softmax(config: ModelConfig, batch_size: int) -> Both:
    """Of the scores of attention."""
    scores = weights(config, batch_size)
    return both(lambda x: [mx.softmax(x, axis=-1, precise=True)], [scores], [scores])


def gate(inputs: Sequence[mx.array]) -> Both:
    """SwiGLU without its products."""
    _, _, gates, gated = inputs

    def run(gates: mx.array) -> list[mx.array]:
        first, second = mx.split(gates, 2, axis=-1)
        return [silu(first) * second]

    return both(run, [gates], [gated])


def heads(config: ModelConfig, batch_size: int, inputs: Sequence[mx.array]) -> Both:
    """Queries, keys and values out of their product, rotated; and the answer of all heads side by side."""
    shape = batch_size, config.total_len, config.num_heads, config.head_dim
    rope = RotaryEmbedding(config.head_dim, config.total_len, config.rope_theta)
    q = queries(config, batch_size)

    def run(qkv: mx.array) -> list[mx.array]:
        parts = [part.reshape(shape) for part in mx.split(qkv, 3, axis=-1)]
        q, k, v = (packed(part.transpose(0, 2, 1, 3)) for part in parts)
        return [rope(q), rope(k), v]

    there, back = both(run, [inputs[1]], [q, q, q])
    return lambda: [there(), mx.contiguous(q.transpose(0, 2, 1, 3))], back


def norms(config: ModelConfig, inputs: Sequence[mx.array]) -> Both:
    """A sum with what a block adds, and its norm."""
    return both(lambda x: [rms_norm(x + x, config.rms_norm_eps)], inputs[:1], inputs[:1])


def optimizer(optim: OptimConfig) -> Callable[[], object]:
    """Adam-atan2 of some elements."""
    weight, m, gradient, v = (normal(OPTIMIZED) for _ in range(4))
    v = mx.square(v)
    mx.eval(v)
    factors = scalars(rates(1, 10, optim), optim)
    return lambda: adam_atan2(weight, m, v, gradient, optim, factors)


def seconds(run: Callable[[], object]) -> float:
    """Processor time of one evaluation."""
    started = time.process_time()
    mx.eval(run())
    return time.process_time() - started


def main() -> None:
    """Print the seconds of each kind as JSON, and the share of the rate of products of 1024 x 1024."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--preset", default="sudoku-extreme-1k")
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--repeats", type=int, default=3)
    chosen = parser.parse_args()
    mx.set_default_device(mx.cpu)
    if hrm_mlx.BLAS.set_num_threads is not None:
        hrm_mlx.BLAS.set_num_threads(1)  # threads that wait would count, too
    loaded = load_config(chosen.preset)
    settings = {**loaded.model.model_dump(), "num_puzzle_identifiers": 1}
    config = validated(ModelConfig, settings, chosen.preset)
    square = mx.random.normal((1024, 1024), key=mx.random.key(0))
    mx.eval(square)
    runs = operations(config, loaded.optim, chosen.batch)
    best = [float("inf")] * len(runs)
    gemm = float("inf")
    for _ in range(chosen.repeats):
        gemm = min(gemm, seconds(lambda: [square @ square for _ in range(4)]))
        for number, (_, _, run) in enumerate(runs):
            best[number] = min(best[number], seconds(run))
    found: dict[str, float] = {}
    for (kind, times, _), spent in zip(runs, best, strict=True):
        found[kind] = found.get(kind, 0.0) + times * spent
    total = sum(found.values())
    flops = chosen.batch * flops_per_example(config)
    rate = 4 * 2 * 1024**3 / gemm
    print(
        json.dumps(
            {
                **vars(chosen),
                "gemm_gflops": round(rate / 1e9, 1),
                "share_of_gemm_rate": round(flops / total / rate, 3),
                **{kind: round(spent, 3) for kind, spent in found.items()},
            }
        )
    )


if __name__ == "__main__":
    main()
