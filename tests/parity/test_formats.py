"""Cases in every format that hrm_parity/recorded/README.md describes, recorded here from MLX itself."""

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save

from hrm_core.backend import Arrays
from hrm_core.config import ModelConfig
from hrm_core.parameters import PUZZLE_TABLE, parameter_table
from hrm_parity.checks import Report, backend_named, check_case
from hrm_parity.compare import state_forms, statistics
from hrm_parity.controls import patched, swapped_levels
from hrm_parity.golden import CaseError, ModelCase, Recorded, load_case
from hrm_parity.limits import Verdict
from hrm_parity.replays import replay_forward, replay_training

CONFIG: dict[str, Any] = {
    **{
        "vocab_size": 7,
        "seq_len": 9,
        "num_puzzle_identifiers": 3,
        "puzzle_emb_ndim": 32,
        "H_layers": 1,
        "L_layers": 1,
    },
    **{
        "hidden_size": 32,
        "num_heads": 2,
        "halt_max_steps": 3,
        "halt_exploration_prob": 0.5,
        "forward_dtype": "float32",
    },
}
HYPERPARAMETERS = {
    **{
        "total_steps": 12,
        "lr": 1e-3,
        "lr_min_ratio": 0.1,
        "lr_warmup_steps": 3,
        "weight_decay": 0.1,
        "beta1": 0.9,
        "beta2": 0.95,
    },
    **{"puzzle_emb_lr": 1e-2, "puzzle_emb_weight_decay": 0.1},
}
B, UPDATES = 4, 12


def weights_rule(config: ModelConfig) -> tuple[dict[str, Any], Arrays]:
    """Entries of a rule, and the weights it stands for. The bias of the Q head is literal."""
    entries, weights = [], {}
    for index, (name, parameter) in enumerate(sorted(parameter_table(config).items())):
        rng = np.random.Generator(np.random.Philox(key=1000 + index))
        literal = name == "q_head.bias"
        std = None if literal else 0.5
        values = (
            np.array([0.25, -0.25], np.float32)
            if literal
            else rng.standard_normal(parameter.shape, np.float32) * np.float32(0.5)
        )
        weights[name] = values
        total = float(values.sum(dtype=np.float64))
        first4 = [float(value) for value in values.ravel()[:4]]
        entries.append(
            {
                "index": index,
                "key": name,
                "shape": list(values.shape),
                "std": std,
                "first4": first4,
                "sum_float64": total,
            }
        )
    return {"text": "see hrm_parity/recorded/README.md", "table": entries}, weights


def batches(rng: np.random.Generator, *shape: int) -> Arrays:
    cells = (*shape, CONFIG["seq_len"])
    return {
        "inputs": rng.integers(0, 6, cells, dtype=np.int32),
        "labels": np.where(rng.random(cells) < 0.2, -100, rng.integers(0, 7, cells)).astype(
            np.int32
        ),
        "puzzle_identifiers": rng.integers(0, 3, shape, dtype=np.int32),
    }


def recorded_forward(case: ModelCase, given: Arrays) -> Arrays:
    """As a large case is recorded: of z only what `state_forms` keeps."""
    backend = backend_named("mlx")(case.config, options())
    backend.load_weights(case.weights)
    result = dict(replay_forward(backend, case, Recorded(Path(), given)))
    states = {
        name: form for z in ("z_H", "z_L") for name, form in state_forms(z, result.pop(z)).items()
    }
    return {**given, **result, **states}


def recorded_training(case: ModelCase, given: Arrays) -> Arrays:
    """Large tensors by every second row, with their sums."""
    backend = backend_named("mlx")(case.config, options())
    backend.load_weights(case.weights)
    result = dict(replay_training(backend, case, Recorded(Path(), given)))
    for name in [name for name in result if name.startswith(("grad/", "w1/", "w12/"))]:
        kind, _, key = name.partition("/")
        result[f"{kind}_stat/{key}"] = statistics(result[name])
        if result[name].size > 4096:
            result[f"{kind}_rows2/{key}"] = np.ascontiguousarray(result.pop(name)[::2])
    return {
        **given,
        **{
            name: array
            for name, array in result.items()
            if name not in ("z_H", "z_L", "puzzle_grad_local")
        },
    }


def options() -> Any:
    from hrm_core.backend import BackendOptions

    return BackendOptions(dtype="float32")


def record(folder: Path, training: bool, **changes: Any) -> Path:
    """Record a case of its own rule, as the published code would have."""
    config = ModelConfig.model_validate({**CONFIG, **changes})
    rule, weights = weights_rule(config)
    hyperparameters = {
        k: v
        for k, v in HYPERPARAMETERS.items()
        if config.puzzle_emb_ndim or not k.startswith("puzzle_emb")
    }
    settings: dict[str, Any] = {
        "name": "by_rule",
        "config": {**CONFIG, **changes, "batch_size": B},
        "weights_rule": rule,
        "forward_steps": 2,
    }
    settings |= {
        "loss": {"head": "ACTLossHead", "loss_type": config.loss_type},
        "hyperparameters": hyperparameters,
    }
    folder.mkdir()
    (folder / "case.json").write_text(json.dumps(settings))
    case = load_case(folder)
    assert isinstance(case, ModelCase)
    np.testing.assert_array_equal(case.weights["lm_head.weight"], weights["lm_head.weight"])
    rng = np.random.default_rng(5)
    files = {"forward.safetensors": recorded_forward(case, batches(rng, B))}
    if training:
        given = {f"batch/{name}": array for name, array in batches(rng, UPDATES, B).items()}
        given["explore_uniform"] = rng.random((UPDATES, B), np.float32)
        given["explore_min_steps"] = rng.integers(2, 4, (UPDATES, B), dtype=np.int32)
        files["train.safetensors"] = recorded_training(case, given)
    for name, tensors in files.items():
        (folder / name).write_bytes(
            save({name: np.ascontiguousarray(array) for name, array in tensors.items()})
        )
    settings["sha256"] = {
        name: hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in files
    }
    (folder / "case.json").write_text(json.dumps(settings))
    return folder


def replay(folder: Path) -> Report:
    return check_case(load_case(folder), backend_named("mlx"))


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("puzzle_emb_ndim", [0, 48, 32])
def test_case_by_rule_agrees_with_itself(
    tmp_path: Path, training: bool, puzzle_emb_ndim: int
) -> None:
    report = replay(record(tmp_path / "case", training, puzzle_emb_ndim=puzzle_emb_ndim))
    assert {row.verdict for row in report.rows} == {Verdict.OK}
    quantities = {row.quantity for row in report.rows}
    assert {"forward z", "forward z, means"} <= quantities
    assert ("weights after update 12" in quantities) is training
    assert ("puzzle table after update 12" in quantities) is (training and puzzle_emb_ndim > 0)


def test_swapped_levels_are_noticed_by_the_means_alone(tmp_path: Path) -> None:
    folder = record(tmp_path / "case", training=False)
    with patched("hrm_mlx.model:HRM.__call__", swapped_levels):
        broken = {row.quantity for row in replay(folder).rows if row.verdict is Verdict.BROKEN}
    assert {"forward z", "forward z, means", "forward logits"} <= broken


def test_single_step_without_learning_to_halt_is_replayed(tmp_path: Path) -> None:
    assert not replay(record(tmp_path / "case", training=True, halt_max_steps=1)).broken


def test_tensor_of_unknown_meaning_is_reported(tmp_path: Path) -> None:
    folder = record(tmp_path / "case", training=False)
    case = load_case(folder)
    assert isinstance(case, ModelCase)
    assert case.forward is not None
    case.forward["entropy"] = np.zeros(2)
    row = check_case(case, backend_named("mlx")).rows[-1]
    assert (row.verdict, row.where) == (Verdict.UNKNOWN, "entropy")


def test_rule_that_gives_other_weights_is_refused(tmp_path: Path) -> None:
    folder = record(tmp_path / "case", training=False)
    settings = json.loads((folder / "case.json").read_text())
    settings["weights_rule"]["table"][3]["index"] += 1
    (folder / "case.json").write_text(json.dumps(settings))
    with pytest.raises(CaseError, match="the rule gives"):
        load_case(folder)


def test_puzzle_table_of_a_model_without_one_is_refused(tmp_path: Path) -> None:
    folder = record(tmp_path / "case", training=False, puzzle_emb_ndim=32)
    settings = json.loads((folder / "case.json").read_text())
    settings["config"]["puzzle_emb_ndim"] = 0
    (folder / "case.json").write_text(json.dumps(settings))
    with pytest.raises(CaseError, match=PUZZLE_TABLE):
        load_case(folder)
