"""Processor time of an update with MLX on a CPU by kind of operation.

OMP_NUM_THREADS=1 python -m benchmarks.operations --preset sudoku-9x9

Each operation runs alone at the shapes of the model and counts as often as an update has it.
Shapes: B slots, T positions, D hidden, N heads, h = D / N, I inside SwiGLU.
"""

import argparse
import json
import time
from collections.abc import Callable

import hrm_mlx  # before mlx: it loads the BLAS  # noqa: F401

# isort: split
import mlx.core as mx

from hrm_core.config import ModelConfig, OptimConfig, load_config, validated
from hrm_core.parameters import num_trainable
from hrm_core.schedule import rates
from hrm_core.sizing import flops_per_example
from hrm_mlx.kernels import packed, silu, softmax
from hrm_mlx.layers import RotaryEmbedding, rms_norm
from hrm_mlx.optim import adam_atan2, scalars

OPTIMIZED = 2**20  # elements that the optimizer is measured with
Operation = tuple[str, float, Callable[[], object]]  # kind, times an update, what runs


def operations(config: ModelConfig, optim: OptimConfig, batch_size: int) -> list[Operation]:
    """The operations of an update, forward and backward."""
    B, T, D, N = batch_size, config.total_len, config.hidden_size, config.num_heads
    h, inner = config.head_dim, config.intermediate_size
    rope = RotaryEmbedding(h, T, config.rope_theta)
    keys = iter(mx.random.split(mx.random.key(0), 20))

    def normal(*shape: int) -> mx.array:
        array = mx.random.normal(shape, key=next(keys))
        mx.eval(array)
        return array

    x, qkv, gates, gated = (normal(B * T, n) for n in (D, 3 * D, 2 * inner, inner))
    of_qkv, of_o, of_gates, of_down = (
        normal(*shape) for shape in ((3 * D, D), (D, D), (2 * inner, D), (D, inner))
    )
    q, scores = normal(B, N, T, h), normal(B, N, T, T)
    weight, m, gradient, v = (normal(OPTIMIZED) for _ in range(4))
    v = mx.square(v)
    mx.eval(v)
    factors = scalars(rates(1, 10, optim), optim)

    def heads(qkv: mx.array) -> list[mx.array]:
        parts = [part.reshape(B, T, N, h) for part in mx.split(qkv, 3, axis=-1)]
        q, k, v = (packed(part.transpose(0, 2, 1, 3)) for part in parts)
        return [rope(q), rope(k), v]

    def gate(gates: mx.array) -> list[mx.array]:
        first, second = mx.split(gates, 2, axis=-1)
        return [silu(first) * second]

    def attention(q: mx.array, weights: mx.array) -> list[mx.array]:
        return [(q * h**-0.5) @ q.swapaxes(-1, -2), weights @ q]

    def normed(x: mx.array) -> list[mx.array]:
        return [rms_norm(x + x, 1e-5)]

    def weighed(scores: mx.array) -> list[mx.array]:
        return [softmax(scores)]

    num_forwards = 2 if config.halt_max_steps > 1 and config.learns_to_halt else 1
    passes = config.H_cycles * (config.L_cycles * config.L_layers + config.H_layers)
    forward, backward = num_forwards * passes, config.H_layers + config.L_layers
    return [
        (
            "matrix products of the layers",
            forward,
            lambda: [x @ of_qkv.T, x @ of_o.T, x @ of_gates.T, gated @ of_down.T],
        ),
        (
            "matrix products of the layers",
            backward,
            lambda: [
                (qkv @ of_qkv, x @ of_o, gates @ of_gates, x @ of_down),
                (qkv.T @ x, x.T @ x, gates.T @ x, x.T @ gated),
            ],
        ),
        ("products of attention", forward, lambda: attention(q, scores)),
        (
            "products of attention",
            backward,
            lambda: mx.vjp(attention, [q, scores], [scores, q])[1],
        ),
        ("softmax", forward, lambda: weighed(scores)),
        ("softmax", backward, lambda: mx.vjp(weighed, [scores], [scores])[1]),
        ("gate of SwiGLU", forward, lambda: gate(gates)),
        ("gate of SwiGLU", backward, lambda: mx.vjp(gate, [gates], [gated])[1]),
        (
            "heads and rotation",
            forward,
            lambda: [heads(qkv), mx.contiguous(q.transpose(0, 2, 1, 3))],
        ),
        ("heads and rotation", backward, lambda: mx.vjp(heads, [qkv], [q, q, q])[1]),
        ("norms and sums", 2 * forward, lambda: normed(x)),
        ("norms and sums", 2 * backward, lambda: mx.vjp(normed, [x], [x])[1]),
        (
            "optimizer",
            num_trainable(config) / OPTIMIZED,
            lambda: adam_atan2(weight, m, v, gradient, optim, factors),
        ),
    ]


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
