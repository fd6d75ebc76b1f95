"""The choice of the attention kernel.

torch's own scaled dot product attention by default, flash-attn where it is installed and device and dtype allow it, written out
for float64. What is asked for by name may be fetched. The flash-attn calls follow their documentation; on a GPU
they have not run yet.
Shapes: B sequences, T positions, N heads, h head size.
"""

from collections.abc import Callable
from functools import partial
from importlib import import_module
from importlib.util import find_spec
from typing import NamedTuple, Protocol

import torch
import torch.nn.functional as F

from hrm_core.errors import BackendError
from hrm_core.messages import reason


class Kernel(Protocol):
    """Softmax attention. Shapes: (B, T, N, h) each -> (B, T, N, h)."""

    def __call__(
        self,
        q: torch.Tensor,
        k: torch.Tensor,
        v: torch.Tensor,
        scale: float,
        visible: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """Attend; `visible` (B, 1, T, T) says which positions each one sees, all if it is not given."""
        ...


class Flash(NamedTuple):
    """One generation of flash-attn."""

    module: str
    capabilities: range  # major compute capabilities of the GPUs it is made for
    way_out: str  # how to get it
    hub: tuple[str, int] | None = None  # where the package kernels finds it built, and its version


FLASH = {  # in the order in which they are preferred
    "flash3": Flash(
        "flash_attn_interface",
        range(9, 10),
        "build it from the folder hopper/ of flash-attention",
        ("kernels-community/flash-attn3", 1),
    ),
    "flash4": Flash("flash_attn.cute", range(9, 13), "pip install --pre flash-attn-4"),
    "flash2": Flash(
        "flash_attn",
        range(8, 13),
        "pip install flash-attn --no-build-isolation (needs nvcc)",
        ("kernels-community/flash-attn2", 2),
    ),
}
TAKES_NO_MASK = "it takes no mask, which model.attention=prefix needs"
FLASH_DTYPES = (torch.bfloat16, torch.float16)


class Choice(NamedTuple):
    """A kernel, what it is called and why it was taken."""

    name: str
    kernel: Callable[..., torch.Tensor]  # a Kernel, which may be told to be causal
    reason: str


def eager(
    q: torch.Tensor,
    k: torch.Tensor,
    v: torch.Tensor,
    scale: float,
    visible: torch.Tensor | None = None,
    *,
    causal: bool = False,
) -> torch.Tensor:
    """Attention written out, in the dtype it is given."""
    q, k, v = (x.transpose(1, 2) for x in (q, k, v))
    scores = (q * scale) @ k.transpose(-1, -2)
    if causal:
        T = q.shape[2]
        visible = torch.ones((T, T), dtype=torch.bool, device=q.device).tril()
    if visible is not None:
        scores = scores.masked_fill(~visible, -torch.inf)
    return (torch.softmax(scores, dim=-1) @ v).transpose(1, 2)


def sdpa(
    q: torch.Tensor,
    k: torch.Tensor,
    v: torch.Tensor,
    scale: float,
    visible: torch.Tensor | None = None,
    *,
    causal: bool = False,
) -> torch.Tensor:
    """Attention by torch."""
    q, k, v = (x.transpose(1, 2) for x in (q, k, v))
    heads = F.scaled_dot_product_attention(
        q, k, v, attn_mask=visible, is_causal=causal, scale=scale
    )
    return heads.transpose(1, 2)


def flash(
    q: torch.Tensor,
    k: torch.Tensor,
    v: torch.Tensor,
    scale: float,
    visible: torch.Tensor | None = None,
    *,
    function: Callable[..., object],
    causal: bool = False,
) -> torch.Tensor:
    """Attention by flash-attn: arguments by name, as their order differs; FA4 and older FA3 return the log-sum-exp besides."""
    assert visible is None, "flash-attn takes no mask, so it is not chosen where there is one"
    result = function(q=q, k=k, v=v, softmax_scale=scale, causal=causal)
    output = result[0] if isinstance(result, tuple) else result
    assert isinstance(output, torch.Tensor)
    return output


def choose(name: str, device: torch.device, dtype: torch.dtype, pattern: str = "full") -> Choice:
    """The kernel of this name; with "auto" the best one that device, dtype and the model's pattern allow.

    Raises: BackendError if the one asked for cannot be used, saying why.
    """
    choice = _chosen(name, device, dtype, pattern)
    if pattern == "causal":
        return choice._replace(kernel=partial(choice.kernel, causal=True))
    return choice


def _chosen(name: str, device: torch.device, dtype: torch.dtype, pattern: str) -> Choice:
    if name in FLASH:
        try:
            if pattern == "prefix":
                raise BackendError(TAKES_NO_MASK)
            function, source = _flash_function(name, device, dtype, may_fetch=True)
        except BackendError as obstacle:
            raise BackendError(
                f"--attention {name} cannot be used: {obstacle}; --attention auto takes what is there"
            ) from obstacle
        return Choice(name, partial(flash, function=function), f"asked for, {source}")
    if name != "auto":
        return Choice(name, {"eager": eager, "sdpa": sdpa}[name], "asked for")
    if dtype == torch.float64:
        return Choice("eager", eager, "float64 is written out")
    if pattern == "prefix":
        return Choice("sdpa", sdpa, f"flash-attn: {TAKES_NO_MASK}")
    if device.type != "cuda":
        return Choice("sdpa", sdpa, "flash-attn is for CUDA")
    obstacles = []
    for flash_name in FLASH:
        try:
            function, source = _flash_function(flash_name, device, dtype, may_fetch=False)
        except BackendError as obstacle:
            obstacles.append(f"{flash_name}: {obstacle}")
        else:
            why = f"{source}, and made for this device and dtype"
            return Choice(flash_name, partial(flash, function=function), why)
    return Choice("sdpa", sdpa, "; ".join(obstacles))


def _flash_function(
    name: str, device: torch.device, dtype: torch.dtype, may_fetch: bool
) -> tuple[Callable[..., object], str]:
    """Find flash-attn's function installed; else, if it may be fetched, as the package kernels has it built.

    Returns: the function, and where it is from. Raises: BackendError saying why there is none.
    """
    module, capabilities, way_out, hub = FLASH[name]
    _check_fits(capabilities, device, dtype)
    try:
        found: object = import_module(module)
        obstacle = f"{module} has no flash_attn_func"
    except Exception as error:
        found, obstacle = None, f"{module} cannot be imported ({reason(error, 100)})"
    if hasattr(found, "flash_attn_func"):
        return found.flash_attn_func, "installed"
    if hub is None:
        raise BackendError(f"{obstacle}; {way_out}")
    if not (may_fetch and find_spec("kernels")):
        fetching = f"pip install kernels, and --attention {name} fetches it built"
        raise BackendError(f"{obstacle}; {fetching}, or {way_out}")
    repository, version = hub
    try:
        fetched = import_module("kernels").get_kernel(repository, version=version)
        return fetched.flash_attn_func, f"fetched from {repository}"
    except Exception as error:
        raise BackendError(
            f"{obstacle}, and {repository} cannot be fetched ({reason(error, 100)}); "
            "check the network, and whether it has a build for this torch"
        ) from error


def _check_fits(capabilities: range, device: torch.device, dtype: torch.dtype) -> None:
    """Refuse a device or dtype that flash-attn does not take. Raises: BackendError."""
    if device.type != "cuda":
        raise BackendError(f"it runs on CUDA, the device is {device.type}")
    if dtype not in FLASH_DTYPES:
        raise BackendError(f"it takes bfloat16, the dtype is {str(dtype).removeprefix('torch.')}")
    capability = torch.cuda.get_device_capability(device)
    if capability[0] not in capabilities:
        raise BackendError(
            f"it is not made for GPUs of compute capability {capability[0]}.{capability[1]}"
        )
