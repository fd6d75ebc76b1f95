"""Processes that train one model begin with the same settings, data and weights."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from hrm_mlx.backend import MLXBackend


@pytest.mark.parametrize("name", ["settings", "data sets", "models to begin with"])
def test_machines_that_differ_are_refused(
    refusal: Callable[..., str],
    tiny_config: Path,
    tiny_data: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
) -> None:
    def gather(backend: MLXBackend, facts: dict[str, Any]) -> list[dict[str, Any]]:
        assert name in facts
        return [facts, {**facts, name: "another"}]

    monkeypatch.setattr(MLXBackend, "gather", gather)
    run = tmp_path / "run"
    message = refusal("train", tiny_config, "--data", tiny_data, "--run", run, "--device", "cpu")
    assert message == (
        f"the machines of this run have different {name}; copy data set and run "
        "from the first machine to the others, and start again"
    )
    assert not run.exists()


def test_resumed_machines_with_different_checkpoints_are_refused(
    refusal: Callable[..., str], tiny_run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def gather(backend: MLXBackend, facts: dict[str, Any]) -> list[dict[str, Any]]:
        assert facts["models to begin with"] is not None
        return [facts, {**facts, "models to begin with": None}]

    monkeypatch.setattr(MLXBackend, "gather", gather)
    message = refusal("train", "--run", tiny_run, "--resume", "--device", "cpu")
    assert message.startswith("the machines of this run have different models to begin with; ")
