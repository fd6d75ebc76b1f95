"""Losses of the text task, end to end: data set, evaluation, metrics, on both backends."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hrm_core.backend import Backend, BackendOptions
from hrm_core.backends import backend_named
from hrm_core.config import ModelConfig
from hrm_core.data.store import load_split
from hrm_core.data.writer import Examples, Layout, write_dataset
from hrm_core.inference.evaluation import InferenceOptions, evaluate
from hrm_core.parameters import initial_values
from hrm_core.tasks.predictions import Predictions
from hrm_tasks.text.build import Options, build
from hrm_tasks.text.task import Text

pytest.importorskip("torch", reason="torch is missing: the PyTorch reference is not tested")

LETTERS = "abcdefg"
SEQ_LEN = 12
NUM_WINDOWS = 5
CHANGED = 7  # labels up to this position stay, tokens behind it change
DTYPES: dict[str, Any] = {"mlx": "float32", "torch": "float64"}
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
    "halt_max_steps": 3,
    "halting": "fixed",
    "attention": "causal",
    "loss_type": "softmax_cross_entropy",
    "forward_dtype": "float32",
}
TASK = Text(1 + len(LETTERS), SEQ_LEN, {"alphabet": LETTERS})
Make = Callable[..., Backend]


@pytest.fixture(params=["mlx", "torch"])
def make(request: pytest.FixtureRequest) -> Make:
    def backend(**settings: object) -> Backend:
        config = ModelConfig.model_validate({**SIZES, **settings})
        options = BackendOptions(device="cpu", dtype=DTYPES[request.param])
        made = backend_named(request.param)(config, options)
        made.load_weights(initial_values(config, seed=3))
        return made

    return backend


def measured(
    backend: Backend, folder: Path, inputs: np.ndarray, labels: np.ndarray, **more: Any
) -> Predictions:
    """Predictions for windows that are written as a data set and read again."""
    examples = Examples(inputs, labels, **more)
    sets = {name: {"all": [examples]} for name in ("train", "test")}
    about = {"task": TASK.name, "task_settings": dict(TASK.settings)}
    write_dataset(folder, Layout(TASK.vocab_size, SEQ_LEN), sets, about)
    options = InferenceOptions(each_step=True)
    found, _ = evaluate(backend, load_split(folder, "test"), TASK, 3, options=options)
    return found


def losses_with_another_future(make: Make, tmp_path: Path, **settings: Any) -> list[Predictions]:
    """Predictions for the same labels, where only tokens behind the last of them differ."""
    rng = np.random.default_rng(0)
    windows = rng.integers(1, TASK.vocab_size, (NUM_WINDOWS, SEQ_LEN + 1))
    inputs, labels = windows[:, :-1], windows[:, 1:].copy()
    labels[:, CHANGED + 1 :] = 0
    other = inputs.copy()
    other[:, CHANGED + 1 :] = 1 + other[:, CHANGED + 1 :] % (TASK.vocab_size - 1)
    assert (other != inputs).any(axis=1).all()
    more = {}
    if settings.get("attention") == "prefix":
        more["prefix_len"] = np.arange(NUM_WINDOWS)
    backend = make(**settings)
    return [
        measured(backend, tmp_path / name, each, labels, **more)
        for name, each in (("one", inputs), ("other", other))
    ]


@pytest.mark.parametrize("attention", ["causal", "prefix"])
@pytest.mark.parametrize("puzzle_emb_ndim", [0, 16])
@pytest.mark.parametrize("halt_max_steps", [1, 3])
def test_the_loss_of_a_token_does_not_know_the_text_behind_it(
    make: Make, tmp_path: Path, attention: str, puzzle_emb_ndim: int, halt_max_steps: int
) -> None:
    one, other = losses_with_another_future(
        make,
        tmp_path,
        attention=attention,
        puzzle_emb_ndim=puzzle_emb_ndim,
        halt_max_steps=halt_max_steps,
    )
    np.testing.assert_array_equal(one.lm_loss, other.lm_loss)
    np.testing.assert_array_equal(one.step_losses, other.step_losses)
    assert TASK.measure(one) == TASK.measure(other)
    assert one.num_labelled.tolist() == [CHANGED + 1] * NUM_WINDOWS


def test_full_attention_is_noticed(make: Make, tmp_path: Path) -> None:
    """The control: positions that see later tokens change every window's loss."""
    one, other = losses_with_another_future(make, tmp_path, attention="full")
    assert (one.lm_loss != other.lm_loss).all()


@pytest.fixture(scope="module")
def text(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data set of 40 letters to learn from, documents of 61, 12, 5 and 2 to test with."""
    folder = tmp_path_factory.mktemp("text")
    rng = np.random.default_rng(0)

    def drawn(length: int) -> str:
        return LETTERS + "".join(rng.choice(list(LETTERS), length - len(LETTERS)))

    documents = [drawn(61), drawn(12), "gfedc", "ab"]
    (folder / "test.txt").write_text("\n<|endoftext|>\n".join(documents))
    sources, test = (folder / "train.txt",), (folder / "test.txt",)
    (folder / "train.txt").write_text(drawn(40) + "\n")
    build(folder / "out", Options(sources=sources, test=test, seq_len=SEQ_LEN))
    return folder / "out"


def test_every_token_of_the_test_is_measured_once(make: Make, text: Path) -> None:
    backend = make(vocab_size=2 + len(LETTERS))
    task = Text(2 + len(LETTERS), SEQ_LEN, {"alphabet": "\n" + LETTERS})
    found, _ = evaluate(backend, load_split(text, "test"), task, 4)
    num_tokens = (62 - 1) + (13 - 1) + (6 - 1) + (2 - 1)  # a line ends all but the last
    assert task.measure(found)["tokens"] == num_tokens


def test_the_loss_does_not_depend_on_the_batch(make: Make, text: Path) -> None:
    backend = make(vocab_size=2 + len(LETTERS))
    task = Text(2 + len(LETTERS), SEQ_LEN, {"alphabet": "\n" + LETTERS})
    split = load_split(text, "test")
    bits = [
        task.measure(evaluate(backend, split, task, size)[0])["bits"] for size in (1, 3, 4, 100)
    ]
    np.testing.assert_allclose(bits, bits[0], rtol=1e-6)
