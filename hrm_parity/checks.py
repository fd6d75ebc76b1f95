"""Checks of one backend: recorded cases, and one update from the published initialisation.

A backend comes as a factory; its module is imported when `backend_named` is asked for it, not before.
"""

import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np

from hrm_core import backends
from hrm_core.backend import Backend, BackendOptions, Batch
from hrm_core.config import ModelConfig, OptimConfig
from hrm_core.parameters import initial_values
from hrm_core.schedule import rates
from hrm_parity.compare import Row, compare
from hrm_parity.golden import Case, ModelCase, OrderCase
from hrm_parity.limits import DATA_ORDER, INITIAL, Verdict, judge, model_limits
from hrm_parity.replays import replay_forward, replay_order, replay_training

Dtype = Literal["auto", "float32", "bfloat16", "float64"]
Factory = Callable[[ModelConfig, BackendOptions], Backend]

INITIAL_MODEL = ModelConfig(
    vocab_size=7,
    seq_len=16,
    num_puzzle_identifiers=5,
    puzzle_emb_ndim=64,
    H_layers=1,
    L_layers=1,
    hidden_size=64,
    num_heads=2,
    halt_max_steps=4,
    forward_dtype="float32",
)
INITIAL_OPTIM = OptimConfig(
    lr=1e-3, lr_warmup_steps=0, weight_decay=0.1, puzzle_emb_lr=1e-2, puzzle_emb_weight_decay=0.1
)


@dataclass(frozen=True)
class Report:
    """The rows of one case, and what they may depend on."""

    case: str
    backend: dict[str, str]  # empty where none took part
    rows: list[Row]
    about: str = ""

    @property
    def broken(self) -> bool:
        """True if a limit is broken."""
        return any(row.verdict is Verdict.BROKEN for row in self.rows)


def backend_named(name: str) -> Factory:
    """The class of a backend that multiplies float32 in full, imported now.

    Raises: BackendError if there is none of this name or its package is missing.
    """
    os.environ["MLX_ENABLE_TF32"] = "0"  # on a GPU; read at MLX's first product
    return backends.backend_named(name)


def is_certified(backend: Backend) -> bool:
    """True if the limits were measured on such a device."""
    return backend.describe()["device_type"] == "cpu"


def check_case(case: Case, make: Factory, dtype: Dtype = "auto") -> Report:
    """Replay a recorded case; "auto" is the dtype it was recorded in.

    Raises: CaseError where the case contradicts itself.
    """
    if isinstance(case, OrderCase):
        return Report(
            case.name,
            {},
            compare(replay_order(case), case.recorded, "", DATA_ORDER, certified=True),
        )
    return _check_model(case, make, case.config.forward_dtype if dtype == "auto" else dtype)


def check_initial(make: Factory) -> Report:
    """One update from the published initialisation: the Q head says -5 twice everywhere, a tie and a gradient of zero.

    Adam-atan2 makes a full step of a gradient of 1e-9, so the row must be exactly where decay puts it. See docs/parity.md, "Controls".
    """
    backend = make(INITIAL_MODEL, BackendOptions(dtype="float32"))
    backend.load_weights(initial_values(INITIAL_MODEL, seed=0))
    before = {name: backend.weights()[name][1].copy() for name in ("q_head.weight", "q_head.bias")}
    scalars = rates(1, 1, INITIAL_OPTIM)
    keep = np.float32(1 - scalars.lr * INITIAL_OPTIM.weight_decay)
    rng = np.random.default_rng(0)
    tokens = rng.integers(0, INITIAL_MODEL.vocab_size, (2, 6, INITIAL_MODEL.seq_len), np.int32)
    backend.begin_training(INITIAL_OPTIM, batch_size=6)
    trace = backend.trace_update(
        Batch(tokens[0], tokens[1], np.arange(6, dtype=np.int32) % 5),
        np.zeros(6, np.int32),
        scalars,
    )
    after = backend.weights()
    moved = sum(int((after[name][1] != value * keep).sum()) for name, value in before.items())
    gaps = {
        "continue row of the Q head": (moved, "q_head.*[1]"),
        "halted on a tie": (int(trace["halted"].sum()), "halted"),
    }
    certified = is_certified(backend)
    rows = [
        Row(name, gap, where if gap else "", INITIAL[name], judge(gap, INITIAL[name], certified))
        for name, (gap, where) in gaps.items()
    ]
    return Report("published initialisation", backend.describe(), rows)


def _check_model(case: ModelCase, make: Factory, dtype: Dtype) -> Report:
    backend = make(case.config, BackendOptions(dtype=dtype))
    backend.load_weights(case.weights)
    certified = is_certified(backend)
    coarser = "bfloat16" if "bfloat16" in (dtype, case.config.forward_dtype) else "float32"
    limits = model_limits(case.name, case.config.hidden_size, coarser)
    rows = []
    with np.errstate(all="ignore"):  # infinities of a broken backend are judged, not warned about
        if case.forward is not None:
            rows += compare(
                replay_forward(backend, case, case.forward),
                case.forward,
                "forward",
                limits,
                certified,
            )
        if case.train is not None:
            rows += compare(
                replay_training(backend, case, case.train),
                case.train,
                "training",
                limits,
                certified,
            )
    return Report(case.name, backend.describe(), rows)
