import sys
from pathlib import Path
from typing import Any

import pytest

from hrm_core.backend import Backend, BackendOptions
from hrm_core.config import ModelConfig
from hrm_parity.checks import backend_named

sys.path.insert(0, str(Path(__file__).parent))  # tests are no packages here

from beyond import OPTIM, B, Make, drawn_weights


@pytest.fixture(params=["mlx", "torch"])
def make(request: pytest.FixtureRequest) -> Make:
    """Make a backend with weights of which none is zero, ready to train."""
    pytest.importorskip("torch" if request.param == "torch" else "mlx")
    named = backend_named(request.param)

    def made(config: ModelConfig, batch_size: int = B, **options: Any) -> Backend:
        backend = named(config, BackendOptions(device="cpu", dtype="float32", **options))
        backend.load_weights(drawn_weights(config))
        backend.begin_training(OPTIM, batch_size)
        return backend

    return made
