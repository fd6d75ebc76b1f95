import ml_dtypes
import numpy as np
import pytest
from hrm_convert import tensors
from hrm_convert.tensors import FLOATS, ConversionError, Tensor, cast_blocks, in_memory, of_array

BF16 = FLOATS["bfloat16"]


def test_blocks_are_all_rows_in_order(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tensors, "BLOCK_BYTES", 4 * 3 * 5)
    array = np.arange(17 * 5, dtype=np.float32).reshape(17, 5)
    blocks = list(of_array(array).blocks())
    assert [len(block) for block in blocks] == [3, 3, 3, 3, 3, 2]
    np.testing.assert_array_equal(np.concatenate(blocks), array)


def test_tensor_without_elements_has_no_blocks() -> None:
    assert not list(of_array(np.zeros((0, 4), np.float32)).blocks())
    assert not list(of_array(np.zeros((4, 0), np.float32)).blocks())


def test_size_is_counted_without_overflow() -> None:
    assert Tensor((2**40, 2**40), BF16, lambda start, stop: np.zeros(0)).size == 2**80


def test_cast_rounds_to_nearest_even() -> None:
    values = np.array([1, 1 + 2**-8, 1 + 3 * 2**-8, -0.0], np.float32)
    (cast,) = cast_blocks("x", of_array(values), BF16)
    assert cast.astype(np.float32).tolist() == [1, 1, 1 + 2**-6, 0]
    assert np.signbit(cast[3])


@pytest.mark.parametrize(("value", "shown"), [(np.nan, "nan"), (np.inf, "inf"), (-np.inf, "-inf")])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
def test_value_that_is_not_finite_is_named_with_its_place(
    value: float, shown: str, dtype: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tensors, "BLOCK_BYTES", 64)
    array = np.zeros((20, 4), np.float32)
    array[13, 2] = value
    with pytest.raises(
        ConversionError,
        match=rf"^lm_head\.weight holds {shown} at \[13, 2\], expected finite weights",
    ):
        list(cast_blocks("lm_head.weight", of_array(array), FLOATS[dtype]))


def test_bfloat16_that_is_not_finite_is_named() -> None:
    array = np.array([1, np.nan], ml_dtypes.bfloat16)
    with pytest.raises(ConversionError, match=r"x holds nan at \[1\]"):
        list(cast_blocks("x", of_array(array), BF16))


def test_value_too_large_for_the_dtype_is_named_with_the_way_out() -> None:
    with pytest.raises(
        ConversionError,
        match=r"x holds 70000 at \[1\], more than float16 can hold \(65504\); choose --dtype float32",
    ):
        list(cast_blocks("x", of_array(np.array([1, 7e4], np.float32)), FLOATS["float16"]))
    with pytest.raises(ConversionError, match=r"more than bfloat16 can hold"):
        list(cast_blocks("x", of_array(np.array([3.4e38], np.float32)), BF16))


def test_in_memory_is_the_whole() -> None:
    array = np.linspace(-1, 1, 30, dtype=np.float32).reshape(10, 3)
    np.testing.assert_array_equal(in_memory("x", of_array(array), BF16), array.astype(BF16))
