"""Arrays between numpy and PyTorch, bfloat16 included."""

import ml_dtypes
import numpy as np
import torch

from hrm_core.backend import AnyArray


def to_numpy(tensor: torch.Tensor) -> AnyArray:
    """A numpy view where the memory is shared, else a copy."""
    tensor = tensor.detach().cpu()
    if tensor.dtype == torch.bfloat16:
        return tensor.contiguous().view(torch.int16).numpy().view(ml_dtypes.bfloat16)
    array: AnyArray = tensor.numpy()
    return array


def from_numpy(array: AnyArray, device: torch.device) -> torch.Tensor:
    """A tensor of its own with the same values and dtype."""
    if array.dtype == ml_dtypes.bfloat16:
        return torch.tensor(array.view(np.int16), device=device).view(torch.bfloat16)
    return torch.tensor(array, device=device)


def at_least_float32(tensor: torch.Tensor) -> torch.Tensor:
    """The tensor in float32, or in float64 if it is."""
    return tensor.to(torch.promote_types(tensor.dtype, torch.float32))
