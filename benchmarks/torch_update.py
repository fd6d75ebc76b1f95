"""Updates of the paper's Sudoku configuration in PyTorch next to plain matrix products, taken in turn.

python -m benchmarks.torch_update --batch 32 --dtype float32
python -m benchmarks.torch_update --batch 64 --dtype bfloat16 --compile on
"""

import argparse
import json
import statistics
import time

import numpy as np

import hrm_torch_ref  # noqa: F401 # isort: skip - before torch: it tells the allocator to keep memory
import torch

from hrm_core.backend import BackendOptions, Batch
from hrm_core.config import ModelConfig, load_config, validated
from hrm_core.parameters import initial_values
from hrm_core.schedule import rates
from hrm_core.sizing import flops_per_example
from hrm_torch_ref.backend import TorchBackend
from hrm_torch_ref.model import DTYPES

SIZE = 2048
PRODUCTS = 8  # timed together


def gemm_rate(dtype: torch.dtype) -> float:
    """FLOP/s of matrices of 2048 x 2048."""
    a, b = torch.randn(2, SIZE, SIZE).to(dtype)
    return PRODUCTS * 2 * SIZE**3 / _seconds(lambda: [a @ b for _ in range(PRODUCTS)])


def measure(config: ModelConfig, batch_size: int, num_updates: int, options: BackendOptions) -> dict[str, float]:
    """Rates of updates after two first ones, each held against the products before and after it."""
    optim = load_config("sudoku-extreme-1k").optim
    backend = TorchBackend(config, options)
    backend.load_weights(initial_values(config, seed=0))
    backend.begin_training(optim, batch_size)
    rng = np.random.default_rng(0)
    dtype = DTYPES[backend.describe()["dtype"]]
    seconds, gemms = [], [gemm_rate(dtype)]
    for update in range(1, num_updates + 3):
        inputs, labels = rng.integers(1, config.vocab_size, (2, batch_size, config.seq_len)).astype(np.int32)
        batch = Batch(inputs, labels, np.zeros(batch_size, np.int32))
        min_steps = np.zeros(batch_size, np.int32)
        seconds.append(_seconds(lambda: backend.update(batch, min_steps, rates(update, 1000, optim)).read()))  # noqa: B023
        gemms.append(gemm_rate(dtype))
    flops = batch_size * flops_per_example(config)
    shares = [flops / s / ((before + after) / 2) for s, before, after in zip(seconds, gemms, gemms[1:], strict=False)][2:]
    return {
        "gemm_gflops": round(statistics.median(gemms) / 1e9, 1),
        "examples_per_second": round(batch_size / statistics.median(seconds[2:]), 3),
        "share_of_gemm_rate": round(statistics.median(shares), 3),
        "first_update_seconds": round(seconds[0], 1),
        "peak_memory_gib": round(backend.peak_memory() / 2**30, 3),
    }


def _seconds(work) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def main() -> None:
    """Print the figures as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--preset", default="sudoku-extreme-1k")
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--updates", type=int, default=5)
    parser.add_argument("--dtype", default="float32")
    parser.add_argument("--compile", default="off")
    parser.add_argument("--micro-batch", type=int)
    arguments = parser.parse_args()
    config = validated(ModelConfig, load_config(arguments.preset).model.model_dump(), arguments.preset)
    options = BackendOptions(dtype=arguments.dtype, compile=arguments.compile, micro_batch=arguments.micro_batch)
    print(json.dumps({**vars(arguments), **measure(config, arguments.batch, arguments.updates, options)}))


if __name__ == "__main__":
    main()
