"""`hrm convert` from puzzles to text and back: tokens by text, settings by `--set`, and what is refused."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hrm_core.parameters import initial_values, parameter_table
from hrm_core.runs.checkpoint import find_model, load_model

Hrm = Callable[..., Any]
Refusal = Callable[..., str]
TOKENS = ("embed_tokens.embedding_weight", "lm_head.weight")
DIGITS = [2, 3, 4, 5]  # tokens of a 4x4 Sudoku
TEXT = "\n".join(f"{i} and {i * i} make {i + i * i}, said the clerk." for i in range(150))
CAUSAL = ("--set", "model.attention=causal", "--set", "model.halting=fixed")
SOFTMAX = ("--set", "model.loss_type=softmax_cross_entropy")
FULL = ("--set", "model.attention=full", "--set", "model.halting=q")
CPU = ("--device", "cpu")


def weights_of(path: Path) -> dict[str, Any]:
    return dict(load_model(find_model(path)).weights)


@pytest.fixture(scope="module")
def characters(hrm: Hrm, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data set of text in characters, with windows of a 4x4 Sudoku's length."""
    folder = tmp_path_factory.mktemp("text")
    (folder / "text.txt").write_text(TEXT)
    outcome = hrm("data", "text", folder / "data", folder / "text.txt", "--seq-len", 16)
    assert outcome.status == 0, outcome.err
    return folder / "data"


@pytest.fixture(scope="module")
def byte_pairs(hrm: Hrm, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same with byte pairs."""
    pytest.importorskip("tokenizers", reason="tokenizers is missing: byte pairs are not tested")
    folder = tmp_path_factory.mktemp("pairs")
    (folder / "text.txt").write_text(TEXT)
    words = ("--seq-len", 16, "--train-bpe", 280)
    outcome = hrm("data", "text", folder / "data", folder / "text.txt", *words)
    assert outcome.status == 0, outcome.err
    return folder / "data"


@pytest.fixture(scope="module")
def text_model(
    hrm: Hrm, tiny_run: Path, characters: Path, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """The Sudoku model with the characters of the text."""
    file = tmp_path_factory.mktemp("model") / "text.safetensors"
    outcome = hrm("convert", tiny_run, file, "--data", characters, *CAUSAL, *SOFTMAX)
    assert outcome.status == 0, outcome.err
    return file


def test_puzzle_model_gets_byte_pairs_and_comes_back(
    hrm: Hrm, tiny_run: Path, tiny_data: Path, byte_pairs: Path, tmp_path: Path
) -> None:
    from hrm_tasks.text.tokenizer import read_tokenizer

    there, back = tmp_path / "there", tmp_path / "back"
    arguments = ("--to", "checkpoint", "--json", "--data")
    outcome = hrm("convert", tiny_run, there, *arguments, byte_pairs, *CAUSAL, *SOFTMAX)
    assert outcome.status == 0, outcome.err
    report = json.loads(outcome.out)
    model = load_model(find_model(there))
    assert (model.config.attention, model.config.halting) == ("causal", "fixed")
    assert [row["name"] for row in report["rows"]] == list(parameter_table(model.config))
    assert report["changes"]["attention"] == ["full", "causal"]
    assert report["task"] == model.task
    assert model.task.startswith("text ")
    tokenizer = read_tokenizer(byte_pairs / "tokenizer.json")
    numbers = [int(tokenizer.encode(digit)[0]) for digit in "1234"]
    puzzle, fresh = weights_of(tiny_run), initial_values(model.config, 0)
    for name in TOKENS:
        expected = fresh[name].copy()
        expected[numbers] = puzzle[name][DIGITS]
        np.testing.assert_array_equal(model.weights[name], expected)
        (row,) = [row for row in report["rows"] if row["name"] == name]
        new = tokenizer.vocab_size - 4
        assert row["actions"] == [
            f"resized: 4 rows kept by text, 2 left out, {new} new, drawn from seed 0"
        ]
    for name in puzzle.keys() - set(TOKENS):
        np.testing.assert_array_equal(model.weights[name], puzzle[name])
    assert any("q_head.weight and q_head.bias are kept" in note for note in report["notes"])

    generated = hrm("generate", there, "-p", "1 and", "--max-tokens", 3, *CPU)
    assert generated.status == 0, generated.err

    outcome = hrm("convert", there, back, *arguments, tiny_data, *FULL)
    assert outcome.status == 0, outcome.err
    report = json.loads(outcome.out)
    assert any("were not trained while halting was fixed" in note for note in report["notes"])
    returned = load_model(find_model(back))
    assert (returned.task, returned.files) == ("sudoku", {})
    assert (returned.config.attention, returned.config.halting) == ("full", "q")
    for name, array in puzzle.items():
        rows = DIGITS if name in TOKENS else slice(None)
        np.testing.assert_array_equal(returned.weights[name][rows], array[rows])
    assert hrm("solve", back, "1... ..2. .3.. ...4", *CPU).status in (0, 1)


def test_converted_model_learns_text_and_another_seed_draws_other_rows(
    hrm: Hrm, tiny_run: Path, tiny_config: Path, characters: Path, text_model: Path, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    arguments = ("--data", characters, "--run", run, "--init", text_model, *CAUSAL, *SOFTMAX)
    outcome = hrm("train", tiny_config, *arguments, "--max-updates", 12, *CPU)
    assert outcome.status == 0, outcome.err
    log = [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]
    losses = [record["lm_loss"] for record in log if record["kind"] == "train"]
    assert losses[-1] < losses[0]
    other = tmp_path / "other.safetensors"
    hrm("convert", tiny_run, other, "--data", characters, *CAUSAL, *SOFTMAX, "--seed", 1)
    differs = (weights_of(other)[TOKENS[0]] != weights_of(text_model)[TOKENS[0]]).any(axis=1)
    texts = [*("\n ,.0123456789")]
    assert [i for i in range(1, 15) if not differs[i]] == [1 + texts.index(d) for d in "1234"]


def test_one_text_vocabulary_becomes_another_and_both_agree(
    hrm: Hrm, text_model: Path, byte_pairs: Path, tmp_path: Path
) -> None:
    outcome = hrm(
        "convert", text_model, tmp_path / "x.safetensors", "--data", byte_pairs, "--verify"
    )
    assert outcome.status == 0, outcome.err
    vocab_size = load_model(text_model).config.vocab_size
    assert f"resized: {vocab_size - 1} rows kept by text, 1 left out" in outcome.out
    assert "not compared: tokens that only one of the models knows by their text: 1 and" in (
        outcome.out
    )
    assert "the models agree in 4 quantities" in outcome.out
    assert load_model(tmp_path / "x.safetensors").files.keys() == {"tokenizer.json"}


def test_settings_without_a_trace_in_one_step_are_verified(
    hrm: Hrm, tiny_run: Path, tmp_path: Path
) -> None:
    words = ("--set", "model.halting=fixed", "--set", "model.halt_max_steps=4", *SOFTMAX)
    outcome = hrm("convert", tiny_run, tmp_path / "x.safetensors", *words, "--verify")
    assert outcome.status == 0, outcome.err
    assert "changed: halt_max_steps 2 -> 4" in outcome.out
    assert "changed: halting q -> fixed" in outcome.out
    assert "the models agree in 4 quantities" in outcome.out
    assert load_model(tmp_path / "x.safetensors").task == "sudoku"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ((), "with attention=full, halting=q does not go with the task text of"),
        ((), "; add --set model.attention=causal --set model.halting=fixed"),
        (CAUSAL[:2], "with halting=q does not go"),
        (CAUSAL[2:], "with attention=full does not go"),
        (("--set", "model.attention=full", *CAUSAL[2:]), "add --set model.attention=causal"),
        (("--set", "model.attention=sideways", *CAUSAL[2:]), "expected 'full', 'causal' or"),
        ((*CAUSAL, "--verify"), "which --set model.attention=causal changes; leave out --verify"),
        ((*CAUSAL, "--to", "official"), "model.attention=causal, which published code does not"),
    ],
)
def test_puzzle_model_for_text_needs_its_settings(
    refusal: Refusal,
    tiny_run: Path,
    characters: Path,
    tmp_path: Path,
    words: tuple[str, ...],
    message: str,
) -> None:
    dest = tmp_path / ("x" if "official" in words else "x.safetensors")
    assert message in refusal("convert", tiny_run, dest, "--data", characters, *words)
    assert not list(tmp_path.iterdir())


def test_large_vocabulary_needs_softmax_and_says_so_in_the_same_line(
    refusal: Refusal, tiny_run: Path, byte_pairs: Path, tmp_path: Path
) -> None:
    dest = tmp_path / "x.safetensors"
    line = refusal("convert", tiny_run, dest, "--data", byte_pairs)
    flags = " ".join((*CAUSAL, *SOFTMAX))
    assert line.endswith(f"tokens; add {flags}")
    assert "with attention=full, halting=q, loss_type=stablemax_cross_entropy does not" in line
    line = refusal("convert", tiny_run, dest, "--data", byte_pairs, *CAUSAL)
    assert line.endswith(f"tokens; add {' '.join(SOFTMAX)}")


@pytest.mark.parametrize(
    ("words", "flags"),
    [((), FULL), (FULL[:2], FULL[2:]), (FULL[2:], FULL[:2])],
)
def test_text_model_for_puzzles_needs_its_settings(
    refusal: Refusal,
    text_model: Path,
    tiny_data: Path,
    tmp_path: Path,
    words: tuple[str, ...],
    flags: tuple[str, ...],
) -> None:
    line = refusal("convert", text_model, tmp_path / "x.safetensors", "--data", tiny_data, *words)
    assert "does not go with the task sudoku of" in line
    assert line.endswith(f"6 tokens; add {' '.join(flags)}")


def test_puzzle_model_that_is_asked_to_halt_fixed_does(
    hrm: Hrm, text_model: Path, tiny_data: Path, tmp_path: Path
) -> None:
    words = ("--set", "model.attention=full", "--set", "model.halting=fixed")
    file = tmp_path / "x.safetensors"
    assert hrm("convert", text_model, file, "--data", tiny_data, *words).status == 0
    assert load_model(file).config.halting == "fixed"


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("model.hidden_size=64", "--set model.hidden_size=64 asks for a network of other tensors"),
        ("model.num_heads=4", "--set model.num_heads=4 asks for a network of other tensors"),
        ("model.H_layers=2", "--set model.H_layers=2 asks for a network of other tensors"),
        (
            "model.pos_encodings=rope",
            "asks for a network of other tensors; --set takes what leaves",
        ),
        ("model.vocab_size=9", "is a size of the data; use --data DIR, --vocab-size N"),
        ("model.num_chunks=2", "is a size of the data"),
        ("optim.lr=1e-3", "--set optim.… is no setting of a model"),
        ("model.haltng=fixed", "the converted model: unknown key haltng (known: "),
        ("model.halt_max_steps=0", "the converted model: halt_max_steps: found 0"),
        ("model.attention=causal", "attention=causal needs halting=fixed"),
        ("attention=causal", "expected section.key=value"),
        ("model.attention", "expected section.key=value"),
    ],
)
def test_setting_that_cannot_be_changed_is_refused(
    refusal: Refusal, tiny_run: Path, tmp_path: Path, setting: str, message: str
) -> None:
    line = refusal("convert", tiny_run, tmp_path / "x.safetensors", "--set", setting)
    assert message in line
    assert not list(tmp_path.iterdir())
