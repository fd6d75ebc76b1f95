"""Peak memory of one update of the paper's ARC configuration at a few batch sizes, and where their line is at the paper's batch.

python -m benchmarks.memory --slots 48 96
python -m benchmarks.memory --slots 48 96 --backend torch

Each batch size has a process of its own, whose resident memory is what counts. It loads weights, moments and a carry in the middle
of its work, as a resumed run does, so its first update is like every later one (--updates 2 shows it). Every row of the batch is another
puzzle of a table as large as that of ARC-AGI-1 with ConceptARC: 960 tasks, each with itself and 1,000 augmentations. The network
is given as many slots at once as the preset's -mac variant says.
"""

import argparse
import json
import time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

import numpy as np

from hrm_core.backend import Backend, Batch
from hrm_core.backends import BackendMaker
from hrm_core.config import DataSizes, TrainConfig, load_config
from hrm_core.parameters import initial_values
from hrm_core.process import peak_memory
from hrm_core.schedule import rates
from hrm_core.sizing import update_bytes

PRESET, MAC_PRESET = "arc-1", "arc-1-mac"
SIZES = DataSizes(vocab_size=12, seq_len=900, num_puzzle_identifiers=960 * 1001 + 1)
PAPER_SLOTS, LIMIT_GB = 768, 16


def load(backend: Backend, slots: int, rng: np.random.Generator) -> None:
    """Weights, moments and a carry of which half the slots are to be filled anew."""
    config, weights = backend.config, initial_values(backend.config, seed=0)
    backend.load_weights(weights)
    backend.begin_training(load_config(PRESET).optim, slots)
    state = {
        name: np.zeros(array.shape, np.float32)
        for name, array in backend.state().items()
        if name.startswith(("m.", "v."))
    }
    for name in ("z_H", "z_L"):
        state[f"carry.{name}"] = rng.standard_normal(
            (slots, config.total_len, config.hidden_size), np.float32
        )
    state["carry.steps"] = rng.integers(1, config.halt_max_steps, slots, dtype=np.int32)
    state["carry.halted"] = np.arange(slots) % 2 == 0
    state |= {f"carry.{name}": array for name, array in vars(random_batch(slots, rng)).items()}
    backend.load_state(state)


def random_batch(slots: int, rng: np.random.Generator) -> Batch:
    inputs, labels = rng.integers(1, SIZES.vocab_size, (2, slots, SIZES.seq_len), dtype=np.int32)
    return Batch(
        inputs,
        labels,
        rng.choice(SIZES.num_puzzle_identifiers, slots, replace=False).astype(np.int32),
    )


def measure(make_backend: BackendMaker, slots: int, updates: int) -> dict[str, float]:
    """Load, update, and tell how much memory this process ever had."""
    optim, rng = load_config(PRESET).optim, np.random.default_rng(0)
    backend = make_backend(load_config(PRESET).model.sized(SIZES))
    load(backend, slots, rng)
    loaded, started = resident_gb(), time.perf_counter()
    for update in range(1, updates + 1):
        backend.update(
            random_batch(slots, rng), np.zeros(slots, np.int32), rates(update, 1000, optim)
        ).read()
    return {
        "slots": slots,
        "loaded_gb": loaded,
        "peak_gb": resident_gb(),
        "arrays_gb": round(backend.peak_memory() / 1e9, 3),  # in PyTorch the same as peak_gb
        "seconds_an_update": round((time.perf_counter() - started) / updates, 1),
    }


def resident_gb() -> float:
    return round(peak_memory() / 1e9, 3)


def main() -> None:
    """Print each size as JSON, then the lines through them: loading may take more than the update where slots are many."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--backend", choices=["mlx", "torch"], default="mlx")
    parser.add_argument("--slots", type=int, nargs="+", default=[48, 96])
    parser.add_argument(
        "--micro-batch", type=int, default=load_config(MAC_PRESET).train.micro_batch_size
    )
    parser.add_argument("--updates", type=int, default=1)
    chosen = parser.parse_args()
    make_backend = BackendMaker(chosen.backend, "cpu", "float32", micro_batch=chosen.micro_batch)
    print(json.dumps({**vars(chosen), "device": "cpu", "dtype": "float32"}), flush=True)
    sizes: dict[str, list[float]] = {"loaded_gb": [], "peak_gb": []}
    for slots in chosen.slots:
        with ProcessPoolExecutor(1, get_context("spawn")) as process:
            measured = process.submit(measure, make_backend, slots, chosen.updates).result()
        print(
            json.dumps(
                {**measured, "estimate_gb": round(estimate(slots, chosen.micro_batch) / 1e9, 3)}
            ),
            flush=True,
        )
        for name, found in sizes.items():
            found.append(measured[name])
    if len(chosen.slots) == 1:
        return
    for name, found in sizes.items():
        per_slot, fixed = np.polyfit(chosen.slots, found, 1)
        at_paper = fixed + PAPER_SLOTS * per_slot
        line = {"line": name, "fixed_gb": round(fixed, 3), "mb_a_slot": round(per_slot * 1000, 2)}
        verdict = "PASS" if at_paper < LIMIT_GB else "FAIL"
        print(
            json.dumps(
                {
                    **line,
                    f"gb_at_{PAPER_SLOTS}_slots": round(at_paper, 2),
                    f"below_{LIMIT_GB}_gb": verdict,
                }
            )
        )


def estimate(slots: int, micro_batch: int) -> int:
    """Return the estimate of `hrm train --dry-run`."""
    train = TrainConfig(
        global_batch_size=slots, micro_batch_size=micro_batch, epochs=1, eval_interval=1
    )
    return update_bytes(load_config(PRESET).model.sized(SIZES), train, "float32")


if __name__ == "__main__":
    main()
