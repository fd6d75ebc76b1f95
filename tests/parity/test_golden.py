"""Both backends agree with every recorded run of the published code; float64 as well, in the limits of float32."""

from pathlib import Path

import pytest

from hrm_parity.checks import Dtype, Report, backend_named, check_case, check_initial
from hrm_parity.golden import carried_cases, find_cases, load_case
from hrm_parity.limits import Verdict

RECORDED = ["data_order", "learned_softmax_f32", "rope_stablemax_bf16", "rope_stablemax_f32"]
BACKENDS = ["mlx", "torch"]


def replay(folder: Path, backend: str, dtype: Dtype = "auto") -> Report:
    if backend == "torch":
        pytest.importorskip("torch")
    return check_case(load_case(folder), backend_named(backend), dtype)


def beyond_limits(report: Report) -> list[str]:
    return [
        f"{row.quantity}: {row.gap:.2e} at {row.where}"
        for row in report.rows
        if row.verdict is not Verdict.OK
    ]


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("name", RECORDED)
def test_recorded_case_agrees(golden_dir: Path, name: str, backend: str) -> None:
    assert beyond_limits(replay(golden_dir / name, backend)) == []


@pytest.mark.parametrize("name", ["learned_softmax_f32", "rope_stablemax_f32"])
def test_referee_agrees_with_recorded_float32(golden_dir: Path, name: str) -> None:
    report = replay(golden_dir / name, "torch", "float64")
    assert report.backend["dtype"] == "float64"
    assert beyond_limits(report) == []


def test_every_recorded_case_is_known(golden_dir: Path) -> None:
    assert [folder.name for folder in find_cases(golden_dir)] == RECORDED


@pytest.mark.parametrize("backend", BACKENDS)
def test_carried_case_agrees(backend: str) -> None:
    for folder in carried_cases():
        assert beyond_limits(replay(folder, backend)) == []


@pytest.mark.parametrize("backend", BACKENDS)
def test_published_initialisation_agrees(backend: str) -> None:
    if backend == "torch":
        pytest.importorskip("torch")
    assert beyond_limits(check_initial(backend_named(backend))) == []


def test_float32_case_tells_the_whole_contract(golden_dir: Path) -> None:
    """A quantity that is passed over would agree too."""
    assert {row.quantity for row in replay(golden_dir / "rope_stablemax_f32", "mlx").rows} >= {
        *(
            f"forward {name}"
            for name in (
                "logits",
                "z",
                "q",
                "steps, halted",
                "loss, relative",
                "counts, exact accuracy",
            )
        ),
        *(
            f"training {name}"
            for name in (
                "logits",
                "z, means",
                "q",
                "target_q_continue",
                "steps, halted",
                "loss, relative",
            )
        ),
        *(
            "training data of each slot, exploration",
            "training counts, exact accuracy",
            "training learning rates",
        ),
        *(
            "first gradient, of largest",
            "gradient norms, relative",
            "puzzle gradient, of largest",
            "puzzle gradient, signs",
        ),
        *("weights after update 1", "weights after update 12", "weights after update 12, rms"),
        *("puzzle table after update 12", "H_init, L_init"),
    }
