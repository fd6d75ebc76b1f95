"""The cost of an update with many puzzle identifiers against one with few, updates taken in turn.

python -m benchmarks.table --few 1000 --many 1000000
python -m benchmarks.table --backend torch
"""

import argparse
import json
import statistics
import time

import numpy as np

from hrm_core.backend import Backend, Batch
from hrm_core.backends import BackendMaker
from hrm_core.config import ModelConfig, OptimConfig
from hrm_core.parameters import initial_values
from hrm_core.schedule import rates

BATCH, SEQ_LEN, VOCAB = 32, 81, 11


def make(name: str, num_puzzle_identifiers: int, optim: OptimConfig) -> Backend:
    """A small model with a table of that many rows of 512."""
    config = ModelConfig(
        vocab_size=VOCAB,
        seq_len=SEQ_LEN,
        num_puzzle_identifiers=num_puzzle_identifiers,
        puzzle_emb_ndim=512,
        H_layers=1,
        L_layers=1,
        hidden_size=128,
        num_heads=4,
    )
    backend = BackendMaker(name)(config)
    backend.load_weights(initial_values(config, seed=0))
    backend.begin_training(optim, BATCH)
    return backend


def update(backend: Backend, rng: np.random.Generator, optim: OptimConfig) -> float:
    """Seconds of one update on random data."""
    inputs, labels = rng.integers(1, VOCAB, (2, BATCH, SEQ_LEN)).astype(np.int32)
    ids = rng.integers(0, backend.config.num_puzzle_identifiers, BATCH).astype(np.int32)
    started = time.perf_counter()
    backend.update(
        Batch(inputs, labels, ids), np.zeros(BATCH, np.int32), rates(1, 1000, optim)
    ).read()
    return time.perf_counter() - started


def main() -> None:
    """Print the figures as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--backend", choices=["mlx", "torch"], default="mlx")
    parser.add_argument("--few", type=int, default=1_000)
    parser.add_argument("--many", type=int, default=1_000_000)
    parser.add_argument("--updates", type=int, default=20)
    arguments = parser.parse_args()
    optim, rng = OptimConfig(lr=1e-4, puzzle_emb_lr=1e-2), np.random.default_rng(0)
    few = make(arguments.backend, arguments.few, optim)
    update(few, rng, optim)
    small_peak = few.peak_memory()
    many = make(arguments.backend, arguments.many, optim)
    update(many, rng, optim)
    seconds = [
        (update(few, rng, optim), update(many, rng, optim)) for _ in range(arguments.updates)
    ]
    few_seconds, many_seconds = (statistics.median(column) for column in zip(*seconds, strict=True))
    table = arguments.many * 512 * 4
    print(
        json.dumps(
            {
                **vars(arguments),
                "seconds_few": round(few_seconds, 4),
                "seconds_many": round(many_seconds, 4),
                "ratio": round(many_seconds / few_seconds, 3),
                "table_gib": round(table / 2**30, 3),
                "peak_above_small_model_in_tables": round(
                    (many.peak_memory() - small_peak) / table, 3
                ),
            }
        )
    )


if __name__ == "__main__":
    main()
