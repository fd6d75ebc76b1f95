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
        "pip install kernels, which fetches it built, or build it from the folder hopper/ of flash-attention",
        ("kernels-community/flash-attn3", 1),
    ),
    "flash4": Flash("flash_attn.cute", range(9, 13), "pip install --pre flash-attn-4"),
    "flash2": Flash(
        "flash_attn",
        range(8, 13),
        "pip install kernels, which fetches it built, or pip install flash-attn --no-build-isolation (needs nvcc)",
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
        obstacle = TAKES_NO_MASK if pattern == "prefix" else _obstacle(name, device, dtype, True)
        if obstacle:
            raise BackendError(
                f"--attention {name} cannot be used: {obstacle}; --attention auto takes what is there"
            )
        return Choice(name, _flash_kernel(name, may_fetch=True), "asked for")
    if name != "auto":
        return Choice(name, {"eager": eager, "sdpa": sdpa}[name], "asked for")
    if dtype == torch.float64:
        return Choice("eager", eager, "float64 is written out")
    if pattern == "prefix":
        return Choice("sdpa", sdpa, f"flash-attn: {TAKES_NO_MASK}")
    obstacles = {flash_name: _obstacle(flash_name, device, dtype, False) for flash_name in FLASH}
    usable = next((flash_name for flash_name, obstacle in obstacles.items() if not obstacle), None)
    if usable:
        return Choice(
            usable,
            _flash_kernel(usable, may_fetch=False),
            "installed, and made for this device and dtype",
        )
    why = (
        "flash-attn is for CUDA"
        if device.type != "cuda"
        else "; ".join(f"{n}: {obstacle}" for n, obstacle in obstacles.items())
    )
    return Choice("sdpa", sdpa, why)


def _flash_kernel(name: str, may_fetch: bool) -> Kernel:
    return partial(flash, function=_flash_function(name, may_fetch))


def _flash_function(name: str, may_fetch: bool) -> Callable[..., object]:
    """The function that is installed; else, if it may be fetched, what the package kernels has built for this torch.

    Raises: ImportError saying what failed and what to do.
    """
    module, _, way_out, hub = FLASH[name]
    try:
        function: Callable[..., object] = import_module(module).flash_attn_func
    except Exception as error:
        if may_fetch and hub and find_spec("kernels"):
            return _fetched(*hub)
        if isinstance(error, AttributeError):
            raise ImportError(f"{module} has no flash_attn_func; {way_out}") from error
        raise ImportError(
            f"{module} cannot be imported ({reason(error, 100)}); {way_out}"
        ) from error
    return function


def _fetched(repository: str, version: int) -> Callable[..., object]:
    try:
        kernel = import_module("kernels").get_kernel(repository, version=version)
        function: Callable[..., object] = kernel.flash_attn_func
    except Exception as error:
        raise ImportError(
            f"{repository} cannot be fetched ({reason(error, 100)}); check the network"
        ) from error
    return function


def _obstacle(name: str, device: torch.device, dtype: torch.dtype, may_fetch: bool) -> str:
    """Why flash-attn cannot be used; empty if it can."""
    capabilities = FLASH[name].capabilities
    if device.type != "cuda":
        return f"it runs on CUDA, the device is {device.type}"
    if dtype not in FLASH_DTYPES:
        return f"it takes bfloat16, the dtype is {str(dtype).removeprefix('torch.')}"
    capability = torch.cuda.get_device_capability(device)
    if capability[0] not in capabilities:
        return f"it is not made for GPUs of compute capability {capability[0]}.{capability[1]}"
    try:
        _flash_function(name, may_fetch)
    except ImportError as error:
        return str(error)
    return ""
