"""Training updates of the paper's Sudoku configuration next to the rate of a plain matrix product, in one run.

python -m benchmarks.update --batch 16 --updates 5
"""

import argparse
import json
import statistics
import time

import hrm_mlx  # isort: skip - before mlx: it brings the BLAS
import mlx.core as mx
import numpy as np

from hrm_core.backend import BackendOptions, Batch
from hrm_core.config import ModelConfig, load_config, validated
from hrm_core.parameters import initial_values
from hrm_core.schedule import rates
from hrm_core.sizing import flops_per_example
from hrm_mlx.backend import MLXBackend
from hrm_mlx.devices import num_cores

SIZE = 2048


def gemm_rate() -> float:
    """FLOP/s of float32 matrices of 2048 x 2048 with all BLAS threads, the best of ten."""
    if hrm_mlx.BLAS.set_num_threads:
        hrm_mlx.BLAS.set_num_threads(num_cores())
    a, b = mx.random.normal((SIZE, SIZE)), mx.random.normal((SIZE, SIZE))
    mx.eval(a, b)
    return 2 * SIZE**3 / min(_seconds(lambda: mx.eval(a @ b)) for _ in range(10))


def update_seconds(config: ModelConfig, batch_size: int, num_updates: int, options: BackendOptions) -> list[float]:
    """Seconds of each update after a first one."""
    optim = load_config("sudoku-extreme-1k").optim
    backend = MLXBackend(config, options)
    backend.load_weights(initial_values(config, seed=0))
    backend.begin_training(optim, batch_size)
    rng = np.random.default_rng(0)
    shape = (batch_size, config.seq_len)
    seconds = []
    for update in range(1, num_updates + 2):
        inputs, labels = rng.integers(1, config.vocab_size, (2, *shape)).astype(np.int32)
        batch = Batch(inputs, labels, np.zeros(batch_size, np.int32))
        min_steps = np.zeros(batch_size, np.int32)
        seconds.append(_seconds(lambda: backend.update(batch, min_steps, rates(update, 1000, optim)).read()))  # noqa: B023
        if update == 1:
            mx.reset_peak_memory()
    return seconds[1:]


def _seconds(work) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def main() -> None:
    """Print the figures as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--preset", default="sudoku-extreme-1k")
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--updates", type=int, default=5)
    parser.add_argument("--dtype", default="auto")
    parser.add_argument("--micro-batch", type=int)
    arguments = parser.parse_args()
    config = validated(ModelConfig, load_config(arguments.preset).model.model_dump(), arguments.preset)
    before = gemm_rate()
    options = BackendOptions(dtype=arguments.dtype, micro_batch=arguments.micro_batch)
    seconds = update_seconds(config, arguments.batch, arguments.updates, options)
    rate = arguments.batch / statistics.median(seconds)
    peak = mx.get_peak_memory()
    gemm = statistics.mean([before, gemm_rate()])
    print(
        json.dumps(
            {
                "preset": arguments.preset,
                "batch": arguments.batch,
                "blas": hrm_mlx.BLAS.name,
                "gemm_gflops": round(gemm / 1e9, 1),
                "examples_per_second": round(rate, 3),
                "share_of_gemm_rate": round(rate * flops_per_example(config) / gemm, 3),
                "peak_memory_gib": round(peak / 2**30, 3),
            }
        )
    )


if __name__ == "__main__":
    main()
