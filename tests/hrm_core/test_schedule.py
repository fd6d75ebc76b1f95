import json
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

from hrm_core.config import OptimConfig, load_config
from hrm_core.schedule import learning_rate, rates, total_updates

OPTIM = OptimConfig(
    lr=1e-3, lr_min_ratio=0.1, lr_warmup_steps=10, puzzle_emb_lr=1e-2, beta1=0.9, beta2=0.95
)


def test_first_update_takes_one_part_of_the_warm_up_and_the_last_the_minimum_exactly() -> None:
    assert rates(1, 100, OPTIM).lr == 1e-4
    assert rates(10, 100, OPTIM).lr == 1e-3
    assert rates(100, 100, OPTIM).lr == 1e-3 * 0.1
    assert rates(100, 100, OPTIM).puzzle_emb_lr == 1e-2 * 0.1


def test_half_way_is_half_way() -> None:
    assert rates(55, 100, OPTIM).lr == pytest.approx(1e-3 * 0.55, rel=1e-12)


def test_rate_rises_then_falls() -> None:
    lrs = [rates(t, 100, OPTIM).lr for t in range(1, 101)]
    assert np.all(np.diff(lrs[:10]) > 0)
    assert np.all(np.diff(lrs[9:]) < 0)


def test_ratio_of_one_stays_constant() -> None:
    assert {learning_rate(7e-5, t, 5000, 2000, 1.0) for t in range(2000, 5001, 100)} == {7e-5}


@pytest.mark.parametrize(("warmup", "total"), [(0, 10), (10, 10), (20, 10), (10, 1)])
def test_odd_warm_ups_give_finite_rates(warmup: int, total: int) -> None:
    assert all(0 < learning_rate(1e-3, t, total, warmup, 0.1) <= 1e-3 for t in range(1, total + 1))


def test_bias_corrections() -> None:
    assert rates(3, 9, OPTIM).bias_correction1 == pytest.approx(1 - 0.9**3, rel=1e-15)
    assert rates(3, 9, OPTIM).bias_correction2 == pytest.approx(1 - 0.95**3, rel=1e-15)


def test_recorded_rates_are_met_to_the_last_bit(golden_dir: Path) -> None:
    cases = [path.parent for path in golden_dir.glob("*/train.safetensors")]
    assert cases
    for case in cases:
        hyper = json.loads((case / "case.json").read_text())["hyperparameters"]
        recorded = load_file(case / "train.safetensors")
        optim = OptimConfig(**{name: hyper[name] for name in OptimConfig.model_fields})
        found = [rates(t, hyper["total_steps"], optim) for t in range(1, len(recorded["lr"]) + 1)]
        assert [r.lr for r in found] == recorded["lr"].tolist()
        assert [r.puzzle_emb_lr for r in found] == recorded["puzzle_emb_lr"].tolist()


def test_updates_of_the_published_recipe() -> None:
    assert (
        total_updates(
            load_config("sudoku-extreme-1k").train, total_groups=1000, mean_puzzle_examples=1.0
        )
        == 26_041
    )
    assert (
        total_updates(
            load_config("sudoku-extreme-1k").train, total_groups=7, mean_puzzle_examples=1.5
        )
        == 273
    )  # 273.4
