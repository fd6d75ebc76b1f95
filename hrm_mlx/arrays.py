"""Arrays between numpy and MLX, bfloat16 included."""

import ml_dtypes
import mlx.core as mx
import numpy as np

from hrm_core.backend import AnyArray


def to_numpy(array: mx.array) -> AnyArray:
    """A numpy view where the memory is shared, else a copy."""
    if array.dtype == mx.bfloat16:
        return np.array(array.view(mx.uint16), copy=False).view(ml_dtypes.bfloat16)
    return np.array(array, copy=False)


def from_numpy(array: AnyArray) -> mx.array:
    """An MLX array with the same values and dtype."""
    if array.dtype == ml_dtypes.bfloat16:
        return mx.array(array.view(np.uint16)).view(mx.bfloat16)
    return mx.array(array)
