"""Memory of an update, held against the estimate of `hrm train --dry-run`.

Each model has a process of its own: this file, run as a program.
"""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hrm_core.backend import BackendOptions, Batch
from hrm_core.config import ModelConfig, OptimConfig, TrainConfig
from hrm_core.parameters import initial_values
from hrm_core.schedule import rates
from hrm_core.sizing import update_bytes

pytest.importorskip("torch", reason="torch is missing: the PyTorch reference is not tested")

STATUS = Path("/proc/self/status")  # Source: proc(5)
if not STATUS.exists():
    pytest.skip(
        "/proc is missing: the memory of a process is not measured", allow_module_level=True
    )

OPTIM = OptimConfig(lr=1e-3, puzzle_emb_lr=1e-2)
SIZES: dict[str, Any] = {
    "vocab_size": 7,
    "seq_len": 255,
    "num_puzzle_identifiers": 3,
    "puzzle_emb_ndim": 128,
    "hidden_size": 128,
    "num_heads": 4,
    "H_layers": 2,
    "L_layers": 2,
    "H_cycles": 1,
    "L_cycles": 1,
    "halt_max_steps": 4,
    "forward_dtype": "float32",
}
SLOTS = 16
FIXED: dict[str, Any] = {"halting": "fixed"}
PICTURES: dict[str, Any] = {"num_chunks": 2, "patch_size": 8, "image_size": (64, 128)}
MODELS: dict[str, dict[str, Any]] = {
    "causal": {"attention": "causal", **FIXED},
    "chunks": {"num_chunks": 3},
    "strips of prefix": {"attention": "prefix", **FIXED, **PICTURES},
}


def bytes_of_updates(config: ModelConfig) -> int:
    """Peak of two updates over what the process held after a first one of a tiny model."""
    from hrm_torch_ref.backend import TorchBackend

    def update(model: ModelConfig, slots: int) -> None:
        backend = TorchBackend(model, BackendOptions(device="cpu", dtype="float32"))
        backend.load_weights(initial_values(model, seed=0))
        backend.begin_training(OPTIM, slots)
        for number in (1, 2):
            no_minimum = np.zeros(slots, np.int32)
            backend.update(blank_batch(model, slots), no_minimum, rates(number, 9, OPTIM)).read()

    update(tiny(config), 1)  # imports, and what kernels need once
    before = high_water()
    update(config, SLOTS)
    return high_water() - before


def high_water() -> int:
    """Most bytes that this program held; what getrusage says may be of the process that started it."""
    (line,) = [line for line in STATUS.read_text().splitlines() if line.startswith("VmHWM")]
    return int(line.split()[1]) * 1024


def tiny(config: ModelConfig) -> ModelConfig:
    """The same model of the fewest hidden units."""
    return config.model_copy(update={"hidden_size": 16, "puzzle_emb_ndim": 16, "num_heads": 2})


def blank_batch(model: ModelConfig, slots: int) -> Batch:
    """Rows of token 0, with the prefix and the picture that the model wants."""
    tokens = np.zeros((slots, model.num_chunks * model.seq_len), np.int32)
    prefix_len = np.full(slots, 5, np.int32) if model.attention == "prefix" else None
    images = np.zeros((slots, *model.image_size), np.uint8) if model.image_size else None
    return Batch(tokens, tokens, np.zeros(slots, np.int32), prefix_len, images)


@pytest.mark.parametrize("fields", MODELS.values(), ids=MODELS)
def test_estimate_of_an_update_is_what_it_takes(fields: dict[str, Any]) -> None:
    config = ModelConfig.model_validate({**SIZES, **fields})
    train = TrainConfig(global_batch_size=SLOTS, epochs=1, eval_interval=1)
    command = [sys.executable, __file__, json.dumps(fields)]
    settings = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, env=settings, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    found = int(done.stdout) / update_bytes(config, train, "float32")
    assert 0.75 < found < 1.2  # 0.83 to 0.89


if __name__ == "__main__":
    print(bytes_of_updates(ModelConfig.model_validate({**SIZES, **json.loads(sys.argv[1])})))
