"""The compiled update. Compiling takes half a minute on a CPU, so all tests share what was compiled once."""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest

from hrm_core.backend import Arrays, BackendOptions, Batch
from hrm_core.config import ModelConfig, OptimConfig
from hrm_core.parameters import PUZZLE_TABLE, initial_values
from hrm_core.schedule import rates

torch = pytest.importorskip("torch", reason="torch is missing: the PyTorch reference is not tested")

from torch._dynamo.utils import counters  # noqa: E402

from hrm_torch_ref import compiling, model  # noqa: E402
from hrm_torch_ref.backend import TorchBackend  # noqa: E402

CONFIG = ModelConfig.model_validate(
    {
        "vocab_size": 5, "seq_len": 4, "num_puzzle_identifiers": 6, "puzzle_emb_ndim": 32, "hidden_size": 32, "num_heads": 2,
        "H_layers": 1, "L_layers": 1, "H_cycles": 1, "L_cycles": 1, "halt_max_steps": 3,
    }
)  # fmt: skip
OPTIM = OptimConfig(
    lr=1e-3, lr_warmup_steps=2, weight_decay=0.1, puzzle_emb_lr=1e-2, puzzle_emb_weight_decay=0.1
)
B, UPDATES = 4, 3

pytestmark = pytest.mark.filterwarnings(
    "ignore:`torch.jit.script_method` is deprecated:DeprecationWarning"
)  # torch's own compiler
needs_compiler = pytest.mark.skipif(
    shutil.which("g++") is None, reason="torch.compile on a CPU needs g++"
)


def made(compile: str, config: ModelConfig = CONFIG, optim: OptimConfig = OPTIM) -> TorchBackend:
    backend = TorchBackend(config, BackendOptions(device="cpu", dtype="float32", compile=compile))  # type: ignore[arg-type]
    backend.load_weights(initial_values(config, seed=0))
    backend.begin_training(optim, B)
    return backend


def load(backend: TorchBackend, num_rows: int, decides: bool) -> None:
    """Other weights and a table of another size, in the middle of training."""
    values, rng = initial_values(backend.config, seed=0), np.random.default_rng(3)
    if decides:
        values["q_head.weight"] = rng.standard_normal((2, 32), np.float32)
        values["q_head.bias"] = np.zeros(2, np.float32)
    backend.load_weights({**values, PUZZLE_TABLE: np.zeros((num_rows, 32), np.float32)})
    state = backend.state()
    fresh = {name: np.zeros_like(array) for name, array in state.items()}
    backend.load_state({**fresh, "carry.halted": np.ones(B, bool)})


def advance(backend: TorchBackend, num_rows: int) -> tuple[list[Arrays], Arrays]:
    """What a few updates trace, and the weights after them."""
    rng, traces = np.random.default_rng(1), []
    for t in range(1, UPDATES + 1):
        inputs, labels = rng.integers(0, 5, (2, B, 4), dtype=np.int32)
        ids = rng.integers(0, num_rows, B, dtype=np.int32)
        ids[1] = ids[0]  # two slots work on one puzzle
        trace = backend.trace_update(
            Batch(inputs, labels, ids), np.zeros(B, np.int32), rates(t + 1, 9, OPTIM)
        )
        traces.append({name: array.copy() for name, array in trace.items()})
    return traces, {name: array.copy() for name, array in backend.weights().items()}


class Compiled(NamedTuple):
    """A compiled backend and what was counted while it made its first updates."""

    backend: TorchBackend
    traces: list[Arrays]
    weights: Arrays
    graphs_after: list[
        int
    ]  # compiled so far, after the first updates and after the same on another table
    breaks: dict[str, int]


@pytest.fixture(scope="module")
def compiled() -> Iterator[Compiled]:
    torch._dynamo.reset()
    counters.clear()
    backend = made("on")
    load(backend, 6, decides=True)
    traces, weights = advance(backend, 6)
    graphs = [counters["stats"]["unique_graphs"]]
    load(backend, 1000, decides=True)
    advance(backend, 1000)
    graphs.append(counters["stats"]["unique_graphs"])
    yield Compiled(backend, traces, weights, graphs, dict(counters["graph_break"]))
    torch._dynamo.reset()


def assert_near(found: Arrays, expected: Arrays, atol: float) -> None:
    assert found.keys() == expected.keys()
    for name in expected:
        assert (found[name].shape, found[name].dtype) == (
            expected[name].shape,
            expected[name].dtype,
        ), name
        np.testing.assert_allclose(found[name], expected[name], rtol=1e-5, atol=atol, err_msg=name)


@needs_compiler
def test_compiled_update_is_the_eager_one(compiled: Compiled) -> None:
    eager = made("off")
    load(eager, 6, decides=True)
    traces, weights = advance(eager, 6)
    for found, expected in zip(compiled.traces, traces, strict=True):
        np.testing.assert_array_equal(found["halted"], expected["halted"])
        np.testing.assert_array_equal(
            found["current/puzzle_identifiers"], expected["current/puzzle_identifiers"]
        )
    assert 0 < np.stack([trace["halted"] for trace in traces]).mean() < 1
    assert_near(compiled.traces[0], traces[0], atol=2e-6)
    assert_near(compiled.weights, weights, atol=2e-5)
    assert weights[PUZZLE_TABLE].any()


@needs_compiler
def test_compiled_update_with_one_gradient_less_would_be_noticed(compiled: Compiled) -> None:
    trace = {
        **compiled.traces[0],
        "grad/lm_head.weight": compiled.traces[0]["grad/lm_head.weight"] * 0,
    }
    with pytest.raises(AssertionError, match=r"grad/lm_head\.weight"):
        assert_near(trace, compiled.traces[0], atol=2e-6)


@needs_compiler
def test_update_is_two_whole_graphs_whatever_the_size_of_the_table(compiled: Compiled) -> None:
    """One of the loss and one of the optimizer, compiled once: the rows in use are read and written outside of them."""
    assert compiled.graphs_after == [2, 2]
    assert compiled.breaks == {}
    assert compiled.backend.describe()["compiled"] == "True"


@needs_compiler
def test_compiled_table_is_written_in_place_and_only_where_it_is_in_use(compiled: Compiled) -> None:
    load(compiled.backend, 1000, decides=True)
    table = compiled.backend._state.table
    traces, weights = advance(compiled.backend, 1000)
    assert compiled.backend._state.table is table
    used = np.unique([trace["current/puzzle_identifiers"] for trace in traces])
    assert weights[PUZZLE_TABLE][used].any(axis=1).all()
    assert not np.delete(weights[PUZZLE_TABLE], used, axis=0).any()
    assert counters["stats"]["unique_graphs"] == 2


@needs_compiler
def test_compiled_update_from_the_published_initialisation_leaves_q_continue_alone(
    compiled: Compiled,
) -> None:
    """Its gradient must be zero exactly in compiled code, too: Adam-atan2 takes a whole step of 1e-9."""
    load(compiled.backend, 6, decides=False)
    (first, *_), _ = advance(compiled.backend, 6)
    assert first["grad/q_head.bias"][1] == 0
    assert not first["grad/q_head.weight"][1].any()
    assert first["grad/q_head.bias"][0] != 0
    assert counters["stats"]["unique_graphs"] == 2


def test_graph_break_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """The control: whatever would break the step into several graphs is refused, not worked around."""
    embed = model.HRM.embed

    def breaking(*arguments: Any) -> Any:
        torch._dynamo.graph_break()
        return embed(*arguments)

    torch._dynamo.reset()  # or what was compiled before would be taken
    monkeypatch.setattr(model.HRM, "embed", breaking)
    with pytest.raises(torch._dynamo.exc.Unsupported, match="graph_break"):
        advance(made("on"), 6)


def test_model_with_other_settings_does_not_take_what_was_compiled_before(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """One process, one model after the other, traced but not compiled to code: each must follow its own eager updates."""
    torch._dynamo.reset()
    monkeypatch.setattr(torch, "compile", partial(torch.compile, backend="eager"))
    changes: list[dict[str, Any]] = [
        {},
        {"L_cycles": 2},
        {"rms_norm_eps": 0.1},
        {"rope_theta": 2.0},
    ]
    jobs = [(CONFIG.model_copy(update=change), OPTIM) for change in changes]
    jobs.append((CONFIG, OPTIM.model_copy(update={"beta1": 0.5, "beta2": 0.6})))
    ends: list[np.ndarray] = []
    for config, optim in jobs:
        results = []
        for compile in ("on", "off"):
            backend = made(compile, config, optim)
            load(backend, 6, decides=True)
            results.append(advance(backend, 6)[0][-1])
        assert_near(*results, atol=2e-5)
        assert all(np.abs(results[0]["logits"] - other).max() > 1e-3 for other in ends)
        ends.append(results[0]["logits"])
    torch._dynamo.reset()


def test_compiled_code_outlasts_a_restart(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv(compiling.CACHE)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    cache = tmp_path / "hrm-mlx" / "torchinductor"
    assert compiling.keep_code() == cache
    assert cache.is_dir()
    assert os.environ[compiling.CACHE] == str(cache)


def test_cache_that_the_user_chose_is_kept(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv(compiling.CACHE, str(tmp_path / "mine"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "other"))
    assert compiling.keep_code() == tmp_path / "mine"
    assert not (tmp_path / "other").exists()


def test_cache_that_cannot_be_made_is_left_to_torch(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.delenv(compiling.CACHE)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    assert compiling.keep_code() is None
    assert compiling.CACHE not in os.environ


DOUBLED = """\
import torch
from hrm_torch_ref.compiling import compiled
double = compiled(lambda x: 2 * x.sin(), True, True)
from torch._dynamo.utils import counters
print(double(torch.ones(3)).tolist(), counters["inductor"]["fxgraph_cache_hit"])
double(torch.zeros(3))
"""


@needs_compiler
def test_only_a_compilation_into_an_empty_cache_is_announced(tmp_path: Path) -> None:
    cache = tmp_path / "hrm-mlx" / "torchinductor"
    environment = {**os.environ, "XDG_CACHE_HOME": str(tmp_path), "PYTHONWARNINGS": "ignore"}
    del environment[compiling.CACHE]
    outcomes = [
        subprocess.run(
            [sys.executable, "-c", DOUBLED],
            check=True, capture_output=True, text=True, env=environment,
        )
        for _ in range(2)
    ]  # fmt: skip
    value = (2 * torch.ones(3).sin()).tolist()
    assert [outcome.stdout for outcome in outcomes] == [f"{value} 0\n", f"{value} 1\n"]
    line = f"compiling: the first result takes a minute or two; later runs find the code in {cache}"
    assert [outcome.stderr for outcome in outcomes] == [f"{line}\n", ""]


def test_other_processes_of_torchrun_are_silent(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(torch, "compile", partial(torch.compile, backend="eager"))
    monkeypatch.setenv(compiling.CACHE, str(tmp_path))
    for speaks, num_lines in ((False, 0), (True, 1)):
        torch._dynamo.reset()
        assert compiling.compiled(torch.sin, True, speaks)(torch.zeros(1)) == 0
        assert capsys.readouterr().err.count("\n") == num_lines
