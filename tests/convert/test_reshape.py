from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hrm_convert import tensors
from hrm_convert.reshape import NEW, Change, IdentifierChange, match_identifiers, reshaped
from hrm_convert.tensors import FLOAT32, FLOATS, ConversionError, in_memory, of_array

from hrm_core.parameters import initial_values

POSITIONS = "embed_pos.embedding_weight"
TABLE = "puzzle_emb.weights"


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tensors, "BLOCK_BYTES", 100)


def result(name: str, array: Any, before: Any, change: Change) -> tuple[Any, tuple[str, ...]]:
    tensor, actions = reshaped(name, of_array(array), before, change)
    whole = in_memory(name, tensor, tensor.dtype)
    assert whole.shape == tensor.shape
    return whole, actions


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("name", ["embed_tokens.embedding_weight", "lm_head.weight"])
def test_new_tokens_start_as_a_model_of_that_size_does(
    name: str, dtype: str, config_of: Any, weights_of: Any
) -> None:
    before, after = config_of(vocab_size=12), config_of(vocab_size=256)
    array = weights_of(before)[name].astype(FLOATS[dtype])
    whole, actions = result(name, array, before, Change(after, seed=5))
    np.testing.assert_array_equal(whole[:12], array.astype(np.float32))
    np.testing.assert_array_equal(whole[12:], initial_values(after, 5)[name][12:])
    assert actions == ("resized: 12 rows kept, 244 new, drawn from seed 5",)
    assert 0.9 < whole[12:].std() * before.hidden_size**0.5 < 1.1


def test_smaller_vocabulary_is_cut(config_of: Any, weights_of: Any) -> None:
    before, after = config_of(vocab_size=12), config_of(vocab_size=6)
    array = weights_of(before)["lm_head.weight"]
    whole, actions = result("lm_head.weight", array, before, Change(after))
    np.testing.assert_array_equal(whole, array[:6])
    assert actions == ("resized: 6 rows kept, 6 cut",)


def test_no_other_tensor_knows_the_vocabulary(config_of: Any, weights_of: Any) -> None:
    before, after = config_of(), config_of(vocab_size=256, seq_len=900)
    for name, array in weights_of(before).items():
        tensor, actions = reshaped(name, of_array(array), before, Change(after))
        assert bool(actions) == (name in ("embed_tokens.embedding_weight", "lm_head.weight")), (
            "with RoPE the sequence length is free"
        )
        assert actions or tensor.shape == array.shape


@pytest.fixture
def learned(config_of: Any) -> Callable[[int], Any]:
    """A config with one puzzle slot and so many learned positions."""
    return lambda seq_len: config_of(pos_encodings="learned", seq_len=seq_len)


def test_positions_are_cut_behind_the_puzzle_slots(learned: Any, weights_of: Any) -> None:
    array = weights_of(learned(16))[POSITIONS]
    whole, actions = result(POSITIONS, array, learned(16), Change(learned(9)))
    np.testing.assert_array_equal(whole, array[:10])
    assert actions == ("resized: 1 puzzle slots and 9 positions kept, 7 cut",)


@pytest.mark.parametrize("how", ["auto", "interpolate"])
def test_positions_are_interpolated_between_the_first_and_the_last(learned: Any, how: Any) -> None:
    line = np.arange(9, dtype=np.float32)[:, None] * np.ones(8, np.float32)
    array = np.concatenate([np.full((1, 8), 99, np.float32), line])
    whole, actions = result(POSITIONS, array, learned(9), Change(learned(17), positions=how))
    np.testing.assert_array_equal(whole[0], array[0])
    np.testing.assert_allclose(whole[1:, 0], np.arange(17) / 2)
    assert actions == ("resized: 1 puzzle slots kept, 17 positions interpolated between 9",)


def test_fewer_positions_can_be_interpolated_too(learned: Any) -> None:
    array = np.arange(10, dtype=np.float32)[:, None] * np.ones(8, np.float32)
    whole, _ = result(POSITIONS, array, learned(9), Change(learned(5), positions="interpolate"))
    np.testing.assert_allclose(whole[:, 0], [0, 1, 3, 5, 7, 9])


def test_positions_cannot_be_cut_to_more(learned: Any, weights_of: Any) -> None:
    with pytest.raises(
        ConversionError,
        match="9 learned positions cannot be cut to 16; choose --positions interpolate",
    ):
        reshaped(
            POSITIONS,
            of_array(weights_of(learned(9))[POSITIONS]),
            learned(9),
            Change(learned(16), positions="cut"),
        )


def test_identifiers_are_matched_by_name_in_any_order(config_of: Any) -> None:
    before = [f"task{i}" for i in range(60)]
    after = ["task7", "task8", "new", *reversed(before[10:40]), "other"]
    array = np.random.default_rng(0).standard_normal((60, 8)).astype(np.float32)
    change = match_identifiers(before, after, [], ("old.json", "new.json"))
    whole, actions = result(
        TABLE,
        array,
        config_of(num_puzzle_identifiers=60),
        Change(config_of(num_puzzle_identifiers=34), change),
    )
    for name, row in zip(after, whole, strict=True):
        np.testing.assert_array_equal(
            row, array[before.index(name)] if name in before else np.zeros(8)
        )
    assert actions == (
        "resized: 32 rows kept by name, 28 left out, 2 new",
        "derived: new rows are zero",
    )
    assert change.rows.tolist()[:3] == [7, 8, NEW]


def test_new_identifiers_start_from_the_mean_of_named_ones(config_of: Any) -> None:
    before = ["<blank>", "a_t0", "a_t1", "b"]
    array = np.random.default_rng(0).standard_normal((4, 8)).astype(np.float32)
    change = match_identifiers(
        before, ["<blank>", "c", "d"], ["a_*", "b"], ("old.json", "new.json")
    )
    whole, actions = result(
        TABLE, array.astype(FLOATS["bfloat16"]), config_of(), Change(config_of(), change)
    )
    mean = array.astype(FLOATS["bfloat16"]).astype(np.float64)[1:].mean(axis=0).astype(np.float32)
    np.testing.assert_array_equal(whole[1:], [mean, mean])
    assert actions[1] == "derived: new rows are the mean of 3"


def test_rows_of_a_permutation_are_all_read_right() -> None:
    array = np.random.default_rng(0).standard_normal((1000, 3)).astype(np.float32)
    order = np.random.default_rng(1).permutation(1000)
    order[::7] = NEW
    tensor, _ = reshaped(
        TABLE, of_array(array), None, Change(None, IdentifierChange(order, np.zeros(0, np.int64)))
    )  # type: ignore[arg-type]
    np.testing.assert_array_equal(
        in_memory("x", tensor, FLOAT32), np.where((order == NEW)[:, None], 0, array[order])
    )


@pytest.mark.parametrize(
    ("before", "after", "mean_of", "message"),
    [
        (["a", "a"], ["b"], [], r"old.json names a twice; .* make them distinct"),
        (["a"], ["b", "b"], [], r"new.json names b twice"),
        (
            ["a", "b"],
            ["c"],
            ["a", "x", "y*"],
            r"--mean-of names x, y\*, which old.json does not; it names a, b",
        ),
        (
            ["a", "b"],
            ["b"],
            ["a"],
            r"new.json names no identifier that old.json does not; leave out --mean-of",
        ),
    ],
)
def test_names_that_do_not_fit_are_refused(
    before: list[str], after: list[str], mean_of: list[str], message: str
) -> None:
    with pytest.raises(ConversionError, match=message):
        match_identifiers(before, after, mean_of, ("old.json", "new.json"))
