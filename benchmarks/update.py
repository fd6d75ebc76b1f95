"""Training updates of the paper's Sudoku configuration next to plain matrix products, taken in turn.

python -m benchmarks.update --batch 16
python -m benchmarks.update --backend torch --batch 64 --dtype bfloat16 --compile on
"""

import argparse
import json
import statistics
import time

import numpy as np

from hrm_core.backend import Backend, Batch
from hrm_core.backends import BackendMaker
from hrm_core.config import ModelConfig, load_config, validated
from hrm_core.parameters import initial_values
from hrm_core.schedule import rates
from hrm_core.sizing import flops_per_example

FIRST_UPDATES = 2  # not counted: they allocate and compile


def measure(backend: Backend, batch_size: int, num_updates: int) -> dict[str, float]:
    """Rates of updates, each held against the products of 2048 x 2048 before and after it."""
    config, optim = backend.config, load_config("sudoku-extreme-1k").optim
    backend.load_weights(initial_values(config, seed=0))
    backend.begin_training(optim, batch_size)
    rng = np.random.default_rng(0)
    seconds, gemms = [], [backend.gemm_rate()]
    for update in range(1, num_updates + FIRST_UPDATES + 1):
        inputs, labels = rng.integers(1, config.vocab_size, (2, batch_size, config.seq_len)).astype(
            np.int32
        )
        batch = Batch(inputs, labels, np.zeros(batch_size, np.int32))
        started = time.perf_counter()
        backend.update(batch, np.zeros(batch_size, np.int32), rates(update, 1000, optim)).read()
        seconds.append(time.perf_counter() - started)
        gemms.append(backend.gemm_rate())
    flops = batch_size * flops_per_example(config)
    shares = [
        flops / s / ((before + after) / 2)
        for s, before, after in zip(seconds, gemms, gemms[1:], strict=False)
    ]
    return {
        "gemm_gflops": round(statistics.median(gemms) / 1e9, 1),
        "examples_per_second": round(batch_size / statistics.median(seconds[FIRST_UPDATES:]), 3),
        "share_of_gemm_rate": round(statistics.median(shares[FIRST_UPDATES:]), 3),
        "first_update_seconds": round(seconds[0], 1),
        "peak_memory_gib": round(backend.peak_memory() / 2**30, 3),
    }


def main() -> None:
    """Print the figures as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--backend", choices=["mlx", "torch"], default="mlx")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--dtype", default="float32")
    parser.add_argument("--compile", default="auto")
    parser.add_argument("--attention", default="auto")
    parser.add_argument("--micro-batch", type=int)
    parser.add_argument("--preset", default="sudoku-extreme-1k")
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--updates", type=int, default=5)
    chosen = parser.parse_args()
    settings = {**load_config(chosen.preset).model.model_dump(), "num_puzzle_identifiers": 1}
    config = validated(ModelConfig, settings, chosen.preset)
    backend = BackendMaker(
        chosen.backend,
        chosen.device,
        chosen.dtype,
        chosen.compile,
        chosen.attention,
        chosen.micro_batch,
    )(config)
    print(
        json.dumps(
            {
                **vars(chosen),
                "attention": backend.describe()["attention"],
                **measure(backend, chosen.batch, chosen.updates),
            }
        )
    )


if __name__ == "__main__":
    main()
