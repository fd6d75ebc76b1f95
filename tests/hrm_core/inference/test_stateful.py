"""The stateful way of generation, measured, on both backends."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from hrm_core.backend import Backend, BackendOptions
from hrm_core.backends import backend_named
from hrm_core.config import ModelConfig
from hrm_core.data.store import Split, load_split
from hrm_core.errors import ConfigError, PuzzleError
from hrm_core.inference.evaluation import evaluate
from hrm_core.inference.generating import Stateful
from hrm_core.inference.stateful import check_stateful, measure_stateful, stateful_losses
from hrm_core.parameters import initial_values
from hrm_tasks.sudoku.task import Sudoku
from hrm_tasks.text.build import Options, build
from hrm_tasks.text.task import Text

LETTERS = "abcdefg"
SEQ_LEN = 8
SIZES: dict[str, Any] = {
    "vocab_size": 1 + len(LETTERS),
    "seq_len": SEQ_LEN,
    "num_puzzle_identifiers": 1,
    "puzzle_emb_ndim": 0,
    "hidden_size": 16,
    "num_heads": 2,
    "H_layers": 1,
    "L_layers": 1,
    "H_cycles": 1,
    "L_cycles": 1,
    "halt_max_steps": 2,
    "halting": "fixed",
    "attention": "causal",
    "loss_type": "softmax_cross_entropy",
    "forward_dtype": "float32",
}
TASK = Text(1 + len(LETTERS), SEQ_LEN, {"alphabet": LETTERS})
Make = Callable[..., Backend]


@pytest.fixture(params=["mlx", "torch"])
def make(request: pytest.FixtureRequest) -> Make:
    pytest.importorskip(request.param, reason=f"{request.param} is missing: it is not tested")

    def backend(**settings: object) -> Backend:
        config = ModelConfig.model_validate({**SIZES, **settings})
        options = BackendOptions(device="cpu", dtype="float32")
        made = backend_named(request.param)(config, options)
        made.load_weights(initial_values(config, seed=3))
        return made

    return backend


@pytest.fixture(scope="module")
def split(tmp_path_factory: pytest.TempPathFactory) -> Split:
    """A test of 45 letters and of 4, in windows of 8."""
    folder = tmp_path_factory.mktemp("text")
    letters = np.random.default_rng(0).choice(list(LETTERS), 49)
    text = "".join(letters)
    (folder / "train.jsonl").write_text('{"text": "abcdefg"}')
    (folder / "test.jsonl").write_text(f'{{"text": "{text[:45]}"}}\n{{"text": "{text[45:]}"}}')
    sources, test = (folder / "train.jsonl",), (folder / "test.jsonl",)
    build(folder / "out", Options(sources=sources, test=test, seq_len=SEQ_LEN))
    return load_split(folder / "out", "test")


def test_losses_are_those_of_generation(make: Make) -> None:
    """Each token is scored by what `Stateful` says of it."""
    backend = make()
    rng = np.random.default_rng(1)
    inputs, labels = rng.integers(1, 8, (2, 3, SEQ_LEN), np.int32)
    found = np.stack(list(stateful_losses(backend, inputs, labels, np.zeros(3, np.int32))), axis=1)
    for row in range(3):
        way = Stateful(backend, 1)
        for place in range(SEQ_LEN):
            answers, position = way.answers(inputs[row, : place + 1])
            top = answers.top(position, 8)
            log = top.log_probabilities[0][top.tokens[0] == labels[row, place]]
            assert found[row, place] == pytest.approx(-float(log[0]), abs=1e-4)


def test_a_prefix_comes_at_once(make: Make) -> None:
    backend = make(attention="prefix")
    inputs = np.array([[1, 2, 3, 4, 5, 6, 7, 1]], np.int32)
    labels = np.where(np.arange(SEQ_LEN) < 3, -100, inputs).astype(np.int32)
    found = np.concatenate(list(stateful_losses(backend, inputs, labels, np.zeros(1, int), 4)))
    assert len(found) == SEQ_LEN - 3
    way = Stateful(backend, 4)
    for place in range(3, SEQ_LEN):
        answers, position = way.answers(inputs[0, : place + 1])
        top = answers.top(position, 8)
        log = top.log_probabilities[0][top.tokens[0] == labels[0, place]]
        assert found[place - 3] == pytest.approx(-float(log[0]), abs=1e-4)


def test_the_difference_is_paired(make: Make, split: Split) -> None:
    backend = make()
    seen: list[int] = []
    report = measure_stateful(backend, split, TASK, 3, limit=5, on_batch=seen.append)
    stateless, _ = evaluate(backend, split, TASK, 3, 5)
    assert report.stateless.headline == pytest.approx(TASK.measure(stateless)["bits"])
    assert (report.count, sum(seen)) == (5, 5)
    examples = split.sets["all"]
    inputs, labels = (np.array(each[:5], np.int32) for each in (examples.inputs, examples.labels))
    labels = np.where(labels == 0, -100, labels)
    losses = sum(stateful_losses(backend, inputs, labels, np.zeros(5, np.int32)))
    differences = losses - stateless.lm_loss * stateless.num_labelled
    total = stateless.num_labelled.sum()
    mean = differences.sum() / total
    assert report.difference.nats == pytest.approx(mean, abs=1e-5)
    residuals = differences - mean * stateless.num_labelled
    error = np.sqrt(5 / 4 * np.square(residuals).sum()) / total
    assert report.error == pytest.approx(error, rel=1e-3)
    assert report.headline_error == pytest.approx(error / np.log(2), rel=1e-3)
    record = report.record()["stateful"]
    assert record["bits_difference"] == pytest.approx(
        record["bits_stateful"] - record["bits_stateless"]
    )


def test_it_does_not_depend_on_the_batch(make: Make, split: Split) -> None:
    backend = make()
    one, all_at_once = (measure_stateful(backend, split, TASK, size, 99) for size in (1, 50))
    assert one.count == all_at_once.count
    assert one.stateful.nats == pytest.approx(all_at_once.stateful.nats, abs=1e-5)


def test_of_one_window_no_error_is_known(make: Make, split: Split) -> None:
    report = measure_stateful(make(), split, TASK, 3, limit=1)
    assert (report.count, report.error, report.headline_error) == (1, None, None)
    (table,) = report.pages()
    assert "±" not in table.rows[-1][1]


def test_other_models_are_refused() -> None:
    config = ModelConfig.model_validate(SIZES)
    check_stateful(TASK, config)
    with pytest.raises(PuzzleError, match="is for models of text, this one is sudoku; leave it"):
        check_stateful(Sudoku(4), config)
    with pytest.raises(PuzzleError, match="of an unknown task"):
        check_stateful(None, config)
    for changed in (
        {"attention": "full"},
        {"attention": "full", "halting": "q"},
        {"num_chunks": 2},
    ):
        other = ModelConfig.model_validate({**SIZES, **changed})
        with pytest.raises(ConfigError, match="--stateful needs causal or prefix attention, fixed"):
            check_stateful(TASK, other)
