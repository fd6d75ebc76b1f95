"""Peak memory of updates over the estimate that `hrm train --dry-run` chooses its micro-batch by.

python -m benchmarks.fitting
python -m benchmarks.fitting --backend torch --dtype bfloat16

Each configuration has a process of its own, which makes updates with random boards. What counts is the
most memory that it ever held above what a tiny model took, in which the imports are; on a GPU the most that
its arrays took.
"""

import argparse
import json
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import numpy as np

from hrm_core.backend import Backend, Batch
from hrm_core.backends import BackendMaker
from hrm_core.config import DataSizes, ModelConfig, load_config
from hrm_core.parameters import initial_values
from hrm_core.process import peak_memory
from hrm_core.schedule import rates
from hrm_core.sizing import FITTING, fitting_micro_batch, update_bytes, with_micro_batch

CONFIGURATIONS = {  # preset: sizes of its data, slots, slots at once
    "sudoku-6x6": (DataSizes(8, 36, 1), 512, 512),
    "sudoku-9x9": (DataSizes(11, 81, 1), 192, 96),
    "sudoku-extreme-1k": (DataSizes(11, 81, 1), 16, 8),
}
UPDATES = 2


def update(backend: Backend, preset: str, slots: int) -> None:
    """Make updates of a fresh model with random boards."""
    config, rng = backend.config, np.random.default_rng(0)
    optim = load_config(preset).optim
    backend.load_weights(initial_values(config, seed=0))
    backend.begin_training(optim, slots)
    shape = 2, slots, config.seq_len
    for number in range(1, UPDATES + 1):
        inputs, labels = rng.integers(1, config.vocab_size, shape, dtype=np.int32)
        batch = Batch(inputs, labels, np.zeros(slots, np.int32))
        backend.update(batch, np.zeros(slots, np.int32), rates(number, 1000, optim)).read()


def measure(make_backend: BackendMaker, preset: str) -> dict[str, object]:
    """Make updates in this process and hold its peak against the estimate."""
    sizes, slots, _ = CONFIGURATIONS[preset]
    settings = load_config(preset)
    model = settings.model.sized(sizes)
    update(make_backend(tiny(model)), preset, 1)
    before = resident()
    backend = make_backend(model)
    facts = backend.describe()
    memory = backend.available_memory()
    update(backend, preset, slots)
    peak = backend.peak_memory() if facts["device_type"] == "gpu" else resident() - before
    train = settings.train.model_copy(update={"global_batch_size": slots})
    at_once = with_micro_batch(train, make_backend.micro_batch or slots)
    estimate = update_bytes(model, at_once, facts["dtype"])
    return {
        "slots": slots,
        "at_once": at_once.slots_at_once,
        "estimate_gib": round(estimate / 2**30, 3),
        "peak_gib": round(peak / 2**30, 3),
        "peak_over_estimate": round(peak / estimate, 3),
        "fits_here": fitting_micro_batch(model, train, facts["dtype"], memory),
    }


def resident() -> int:
    """Most bytes that this program held; what getrusage says may be of the process that started it."""
    status = Path("/proc/self/status")
    if not status.is_file():
        return peak_memory()
    (line,) = [each for each in status.read_text().splitlines() if each.startswith("VmHWM")]
    return int(line.split()[1]) * 1024


def tiny(model: ModelConfig) -> ModelConfig:
    """The same model of the fewest hidden units."""
    return model.model_copy(update={"hidden_size": 16, "puzzle_emb_ndim": 16, "num_heads": 2})


def main() -> None:
    """Print the figures of each configuration as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--backend", choices=["mlx", "torch"], default="mlx")
    parser.add_argument("--device", choices=["cpu", "gpu", "auto"], default="cpu")
    parser.add_argument("--dtype", default="float32")
    chosen = parser.parse_args()
    found: dict[str, object] = {**vars(chosen), "margin": round(1 / FITTING, 2)}
    for preset, (_, _, at_once) in CONFIGURATIONS.items():
        make_backend = BackendMaker(
            chosen.backend, chosen.device, chosen.dtype, micro_batch=at_once
        )
        with ProcessPoolExecutor(1, get_context("spawn")) as process:
            found[preset] = process.submit(measure, make_backend, preset).result()
    print(json.dumps(found))


if __name__ == "__main__":
    main()
