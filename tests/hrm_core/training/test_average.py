"""The average of the weights: its formula, what computes with it, and runs that keep it when they are killed."""

import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from safetensors.numpy import load_file

from hrm_core.backend import Arrays, Backend, BackendOptions, Batch
from hrm_core.backends import backend_named
from hrm_core.config import DataSizes, ModelConfig, OptimConfig, load_config
from hrm_core.draws import Purpose, draw_min_steps, stream
from hrm_core.parameters import PUZZLE_TABLE, Role, initial_values, parameter_table
from hrm_core.runs.checkpoint import MODEL_FILE, TRAIN_STATE_FILE, load_model, save_model
from hrm_core.schedule import average_decay, rates
from hrm_core.sizing import update_bytes

LAST = "update_00000024"

CONFIG = ModelConfig.model_validate(
    {
        "vocab_size": 7, "seq_len": 9, "num_puzzle_identifiers": 5, "puzzle_emb_ndim": 32, "hidden_size": 32, "num_heads": 2,
        "H_layers": 1, "L_layers": 1, "halt_max_steps": 3, "halt_exploration_prob": 0.5,
    }
)  # fmt: skip
OPTIM = OptimConfig(
    lr=1e-2, lr_warmup_steps=2, weight_decay=0.1, puzzle_emb_lr=1e-2, puzzle_emb_weight_decay=0.1
)
TRAINED = [name for name, tensor in parameter_table(CONFIG).items() if tensor.role is Role.TRAINED]
B, UPDATES = 6, 50
EMA = 0.8  # as in conftest.py


@pytest.fixture(params=["mlx", "mlx, compiled", "torch", "torch, float64"])
def make(request: pytest.FixtureRequest) -> Callable[..., Backend]:
    """A backend ready for its first update."""
    name, _, how = request.param.partition(", ")
    if name == "torch":
        pytest.importorskip("torch", reason="torch is missing: the PyTorch reference is not tested")
    options = BackendOptions(
        device="cpu",
        dtype="float64" if how == "float64" else "float32",
        compile="on" if how == "compiled" else "off",
    )

    def made(weights: Arrays | None = None) -> Backend:
        backend = backend_named(name)(CONFIG, options)
        backend.load_weights(weights or initial_values(CONFIG, 0))
        backend.begin_training(OPTIM, B)
        return backend

    return made


def batches() -> Iterator[Batch]:
    rng = np.random.default_rng(1)
    while True:
        tokens = rng.integers(0, CONFIG.vocab_size, (2, B, CONFIG.seq_len), dtype=np.int32)
        yield Batch(tokens[0], tokens[1], rng.integers(0, 5, B, dtype=np.int32))


def advance(
    backend: Backend, source: Iterator[Batch], first: int, last: int, ema: float | None = EMA
) -> None:
    for update in range(first, last + 1):
        floors = draw_min_steps(stream(0, Purpose.EXPLORATION, update), B, CONFIG)
        backend.update(next(source), floors, rates(update, UPDATES, OPTIM, ema)).read()


def copied(arrays: Mapping[str, Any]) -> dict[str, np.ndarray]:
    return {name: array.copy() for name, array in arrays.items()}


def answers(backend: Backend) -> np.ndarray:
    """Logits of an evaluation."""
    _, said = backend.step(backend.begin(next(batches())))
    return np.array(said.logits)


def test_decay_grows_to_the_one_that_is_asked_for() -> None:
    decays = [average_decay(0.9, update) for update in (1, 2, 10, 79, 80, 81, 1000)]
    assert decays == [2 / 11, 3 / 12, 11 / 20, 80 / 89, 81 / 90, 0.9, 0.9]
    assert rates(3, 9, OPTIM).average_decay is None
    assert rates(3, 9, OPTIM, 0.9).average_decay == 4 / 13


def test_average_is_the_formula_over_fifty_updates(make: Callable[..., Backend]) -> None:
    backend, source = make(), batches()
    expected = {name: array.astype(np.float64) for name, array in backend.weights().items()}
    for update in range(1, UPDATES + 1):
        advance(backend, source, update, update)
        d = min(EMA, (1 + update) / (10 + update))
        weights = backend.weights()
        for name in TRAINED:
            expected[name] = d * expected[name] + (1 - d) * weights[name].astype(np.float64)
    found, weights = backend.averaged_weights(), backend.weights()
    assert found.keys() == weights.keys() == parameter_table(CONFIG).keys()
    for name in found:
        if name in TRAINED:
            np.testing.assert_allclose(found[name], expected[name], rtol=1e-6, atol=1e-7)
            assert np.abs(found[name] - weights[name]).max() > 1e-4, name
        else:  # the puzzle table and constants
            np.testing.assert_array_equal(found[name], weights[name])
    assert np.abs(found[PUZZLE_TABLE]).max() > 0


def test_average_changes_no_update(make: Callable[..., Backend]) -> None:
    plain, averaged = make(), make()
    advance(plain, batches(), 1, 6, ema=None)
    advance(averaged, batches(), 1, 6)
    for name, array in plain.weights().items():
        np.testing.assert_array_equal(averaged.weights()[name], array, err_msg=name)
        np.testing.assert_array_equal(plain.averaged_weights()[name], array)
    assert averaged.state().keys() - plain.state().keys() == {f"raw.{name}" for name in TRAINED}


def test_evaluation_computes_with_the_average(make: Callable[..., Backend]) -> None:
    backend = make()
    advance(backend, batches(), 1, 6)
    of_average, of_raw = make(copied(backend.averaged_weights())), make(copied(backend.weights()))
    np.testing.assert_array_equal(answers(backend), answers(of_average))
    assert np.abs(answers(backend) - answers(of_raw)).max() > 1e-4


def test_average_and_raw_weights_are_all_that_the_next_update_needs(
    make: Callable[..., Backend],
) -> None:
    first, source = make(), batches()
    advance(first, source, 1, 4)
    model, state = copied(first.averaged_weights()), copied(first.state())
    following = [next(source) for _ in range(3)]
    second = make(model)
    second.load_state(state)
    np.testing.assert_array_equal(answers(second), answers(first))
    advance(first, iter(following), 5, 7)
    advance(second, iter(following), 5, 7)
    for found, wanted in (
        (second.weights(), first.weights()),
        (second.averaged_weights(), first.averaged_weights()),
        (second.state(), first.state()),
    ):
        assert found.keys() == wanted.keys()
        for name in wanted:
            assert found[name].tobytes() == wanted[name].tobytes(), name


def test_average_ends_when_it_is_no_longer_asked_for(make: Callable[..., Backend]) -> None:
    backend, source = make(), batches()
    advance(backend, source, 1, 3)
    advance(backend, source, 4, 4, ema=None)
    for name, array in backend.averaged_weights().items():
        np.testing.assert_array_equal(array, backend.weights()[name])
    assert not any(name.startswith("raw.") for name in backend.state())


def test_checkpoint_holds_the_average_and_beside_it_the_raw_weights(
    averaged_run: Path, tiny_run: Path
) -> None:
    model = load_file(averaged_run / "checkpoints" / LAST / MODEL_FILE)
    state = load_file(averaged_run / "checkpoints" / LAST / TRAIN_STATE_FILE)
    plain = load_file(tiny_run / "checkpoints" / LAST / MODEL_FILE)
    raw = {name.removeprefix("raw."): state[name] for name in state if name.startswith("raw.")}
    assert PUZZLE_TABLE not in raw
    for name, array in plain.items():  # the same run but for its average
        if name in raw:
            assert raw[name].tobytes() == array.tobytes(), name
            assert not np.array_equal(model[name], array), name
        else:
            assert model[name].tobytes() == array.tobytes(), name


def test_evaluation_in_training_is_that_of_the_average(
    hrm: Callable[..., Any], averaged_run: Path, tiny_run: Path
) -> None:
    measured = json.loads(hrm("eval", averaged_run, "--limit", 10, "--json", "--device", "cpu").out)
    lines = [json.loads(line) for line in (averaged_run / "log.jsonl").read_text().splitlines()]
    logged = [line for line in lines if line["kind"] == "eval"][-1]
    assert measured["lm_loss"] == pytest.approx(logged["lm_loss"], rel=1e-6)
    plain = json.loads(hrm("eval", tiny_run, "--limit", 10, "--json", "--device", "cpu").out)
    assert measured["lm_loss"] != pytest.approx(plain["lm_loss"], rel=1e-3)


def test_run_begun_with_other_weights_averages_from_them(
    hrm: Callable[..., Any], averaged: list[str | Path], averaged_run: Path, tmp_path: Path
) -> None:
    """With a rate of zero the average stays where it begins, up to the decay of weights."""
    still = ["--set", "optim.lr=1e-30", "--set", "optim.puzzle_emb_lr=0", "--max-updates", 3]
    outcome = hrm(*averaged, "--init", averaged_run, *still)
    assert outcome.status == 0, outcome.err
    begun = load_file(averaged_run / "checkpoints" / LAST / MODEL_FILE)
    ended = load_file(tmp_path / "run" / "checkpoints" / "update_00000003" / MODEL_FILE)
    for name, array in begun.items():
        np.testing.assert_allclose(ended[name], array, rtol=1e-6, atol=1e-12, err_msg=name)


def test_raw_weights_that_are_not_finite_are_not_saved(
    hrm: Callable[..., Any], averaged: list[str | Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The average of this backend stays finite, so only its raw weights can tell."""
    from hrm_mlx.backend import MLXBackend

    good = MLXBackend.weights

    def diverged(backend: MLXBackend) -> Arrays:
        weights = dict(good(backend))
        return {**weights, "lm_head.weight": np.full_like(weights["lm_head.weight"], np.inf)}

    monkeypatch.setattr(MLXBackend, "weights", diverged)
    outcome = hrm(*averaged)
    assert outcome.status == 1
    assert "training diverged" in outcome.err
    assert "weights=nan" in outcome.err


def test_average_that_is_not_finite_is_not_saved(
    hrm: Callable[..., Any], averaged: list[str | Path], averaged_run: Path, tmp_path: Path
) -> None:
    model = load_model(averaged_run / "checkpoints" / LAST / MODEL_FILE)
    weights = {**model.weights, "H_init": np.full_like(model.weights["H_init"], np.nan)}
    save_model(tmp_path / "nan.safetensors", model.config, model.task, weights)
    outcome = hrm(*averaged, "--init", tmp_path / "nan.safetensors")
    assert outcome.status == 1
    assert not list((tmp_path / "run").rglob("*.safetensors"))


def test_default_is_not_written(averaged_run: Path, tiny_run: Path) -> None:
    sections = [
        yaml.safe_load((run / "config.yaml").read_text())["train"]
        for run in (averaged_run, tiny_run)
    ]
    assert sections[0].pop("ema") == EMA
    assert sections[0] == sections[1]


@pytest.mark.parametrize("decay", ["0", "1", "-0.5", "1.5", "much"])
def test_wrong_decay_is_refused(
    refusal: Callable[..., str], tiny_config: Path, tiny_data: Path, decay: str
) -> None:
    options = ["--data", tiny_data, "--run", "runs/none", "--set", f"train.ema={decay}"]
    message = refusal("train", tiny_config, *options)
    assert message.startswith(f"{tiny_config}: train.ema: found ")
    assert "\n" not in message


def test_memory_counts_the_average(tiny_config: Path) -> None:
    config = load_config(str(tiny_config), [f"train.ema={EMA}"])
    model = config.model.sized(DataSizes(6, 16, 1))
    plain = config.train.model_copy(update={"ema": None})
    trained = sum(t.size for t in parameter_table(model).values() if t.role is Role.TRAINED)
    more = update_bytes(model, config.train, "float32") - update_bytes(model, plain, "float32")
    assert more == 4 * trained
