import sys
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from hrm_core.backend import BackendOptions, Batch
from hrm_core.config import ModelConfig
from hrm_core.errors import BackendError
from hrm_core.parameters import initial_values

torch = pytest.importorskip("torch", reason="torch is missing: the PyTorch reference is not tested")

from hrm_torch_ref import attention, devices  # noqa: E402
from hrm_torch_ref.attention import FLASH, choose, eager, sdpa  # noqa: E402
from hrm_torch_ref.backend import TorchBackend  # noqa: E402

B, T, N, h = 2, 11, 4, 8  # all different, so that no two axes can be taken for each other
CPU, CUDA = torch.device("cpu"), torch.device("cuda", 0)
AMPERE, HOPPER, BLACKWELL, TURING = (8, 0), (9, 0), (10, 0), (7, 5)
LIMITS = {torch.float32: 2e-6, torch.bfloat16: 2e-2, torch.float64: 1e-14}


def heads(dtype: Any) -> tuple[Any, Any, Any]:
    q, k, v = torch.tensor(np.random.default_rng(0).standard_normal((3, B, T, N, h))).to(dtype)
    return q, k, v


def reference(q: Any, k: Any, v: Any, scale: float) -> Any:
    """Attention head by head in float64. Shapes: (B, T, N, h) each -> (B, T, N, h)."""
    q, k, v = (x.double().numpy() for x in (q, k, v))
    output = np.zeros_like(q)
    for b in range(len(q)):
        for head in range(q.shape[2]):
            scores = np.exp(scale * q[b, :, head] @ k[b, :, head].T)
            output[b, :, head] = scores / scores.sum(axis=1, keepdims=True) @ v[b, :, head]
    return output


@pytest.mark.parametrize("dtype", LIMITS, ids=str)
@pytest.mark.parametrize("kernel", [eager, sdpa])
def test_kernel_is_attention_head_by_head(kernel: Callable[..., Any], dtype: Any) -> None:
    q, k, v = heads(dtype)
    found = kernel(q, k, v, 0.3)
    assert (found.shape, found.dtype) == (q.shape, dtype)
    np.testing.assert_allclose(
        found.double().numpy(), reference(q, k, v, 0.3), rtol=0, atol=LIMITS[dtype]
    )


def kept_values(kernel: Callable[..., Any], dtype: Any, length: int) -> int:
    """How many values the backward pass of one sequence keeps."""
    kept = []

    def keep(tensor: Any) -> Any:
        kept.append(tensor.numel())
        return tensor

    q, k, v = torch.zeros((3, 1, length, N, h), dtype=dtype).requires_grad_()
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        kernel(q, k, v, 0.3)
    return sum(kept)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_default_kernel_keeps_no_attention_weights(dtype: Any) -> None:
    """Nothing that grows with the square of the length; written out it would be noticed."""
    kernel = choose("auto", CPU, dtype).kernel
    assert kept_values(kernel, dtype, 512) == 2 * kept_values(kernel, dtype, 256)
    assert kept_values(eager, dtype, 512) > 3 * kept_values(eager, dtype, 256)


@pytest.mark.parametrize("mistake", ["scale", "heads", "causal"])
def test_wrong_attention_would_be_noticed(mistake: str) -> None:
    q, k, v = heads(torch.float64)
    wrong = {
        "scale": lambda: sdpa(q, k, v, h**-0.5),
        "heads": lambda: sdpa(q, k.roll(1, dims=2), v, 0.3),
        "causal": lambda: computed(q.half(), k.half(), v.half(), 0.3, causal=True).double(),
    }
    assert np.abs(wrong[mistake]().numpy() - reference(q, k, v, 0.3)).max() > 0.1


@pytest.mark.parametrize("dtype", LIMITS, ids=str)
def test_kernels_have_the_same_gradient(dtype: Any) -> None:
    gradients = []
    for kernel in (eager, sdpa):
        leaves = [x.requires_grad_() for x in heads(dtype)]
        gradients.append(torch.autograd.grad(kernel(*leaves, 0.3).square().sum(), leaves))
    for found, expected in zip(*gradients, strict=True):
        torch.testing.assert_close(found, expected, rtol=0, atol=4 * LIMITS[dtype])


# The functions of three generations of flash-attn, as documented: each is called here as the real one would be. Nobody has run
# the real ones: that their documentation is right is what these tests assume, and what they cannot show.


def computed(q: Any, k: Any, v: Any, softmax_scale: float | None, causal: bool) -> Any:
    """What flash-attn computes; it refuses what the real one refuses."""
    if q.dtype not in (torch.float16, torch.bfloat16):
        raise RuntimeError("FlashAttention only support fp16 and bf16 data type")
    q, k, v = (x.transpose(1, 2) for x in (q, k, v))
    return torch.nn.functional.scaled_dot_product_attention(
        q, k, v, is_causal=causal, scale=softmax_scale
    ).transpose(1, 2)


def lse(q: Any, k: Any) -> Any:
    """The log-sum-exp (B, N, T), which is no attention."""
    return torch.logsumexp(torch.einsum("bqnh,bknh->bnqk", q.float(), k.float()), dim=-1)


def flash2(q, k, v, dropout_p=0.0, softmax_scale=None, causal=False, window_size=(-1, -1), softcap=0.0, alibi_slopes=None,
           deterministic=False, return_attn_probs=False):  # fmt: skip
    """flash-attn 2.8, flash_attn/flash_attn_interface.py."""
    assert not dropout_p
    return computed(q, k, v, softmax_scale, causal)


def flash3(q, k, v, softmax_scale=None, causal=False, qv=None, q_descale=None, k_descale=None, v_descale=None, window_size=(-1, -1),
           attention_chunk=0, softcap=0.0, num_splits=1, pack_gqa=None, deterministic=False, sm_margin=0,
           return_attn_probs=False):  # fmt: skip
    """flash-attn 3, hopper/flash_attn_interface.py."""
    return computed(q, k, v, softmax_scale, causal)


def older_flash3(q, k, v, softmax_scale=None, causal=False, qv=None, q_descale=None, k_descale=None, v_descale=None,
                 window_size=(-1, -1), softcap=0.0, num_splits=1, pack_gqa=None, deterministic=False, sm_margin=0):  # fmt: skip
    """flash-attn 3 before it had return_attn_probs."""
    return computed(q, k, v, softmax_scale, causal), lse(q, k)


def flash4(q, k, v, softmax_scale=None, causal=False, window_size=(None, None), learnable_sink=None, softcap=0.0, num_splits=1,
           pack_gqa=None, deterministic=False, mask_mod=None):  # fmt: skip
    """flash-attn-4, flash_attn/cute/interface.py."""
    return computed(q, k, v, softmax_scale, causal), lse(q, k)


Install = Callable[..., None]


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> Callable[[tuple[int, int]], None]:
    """Pretend that there is a GPU of this compute capability."""
    return lambda capability: monkeypatch.setattr(
        torch.cuda, "get_device_capability", lambda device=None: capability
    )


@pytest.fixture
def install(monkeypatch: pytest.MonkeyPatch) -> Install:
    """Put modules into sys.modules that hold these functions and nothing else; what is not named cannot be imported."""

    def installed(**functions: Callable[..., Any] | None) -> None:
        for name in ("flash_attn", "flash_attn.cute", "flash_attn_interface"):
            monkeypatch.setitem(sys.modules, name, None)
        if not hasattr(sys.modules.get("kernels"), "fetched"):  # a real one would use the network
            monkeypatch.setattr(attention, "find_spec", lambda name: None)
        for name, function in functions.items():
            path = FLASH[name].module
            for part in {path.partition(".")[0], path} if function else {path}:
                if sys.modules[part] is None:
                    monkeypatch.setitem(sys.modules, part, ModuleType(part))
            if function:
                monkeypatch.setattr(sys.modules[path], "flash_attn_func", function, raising=False)

    return installed


@pytest.mark.parametrize(
    ("name", "function", "capability"),
    [
        ("flash2", flash2, AMPERE),
        ("flash3", flash3, HOPPER),
        ("flash3", older_flash3, HOPPER),
        ("flash4", flash4, BLACKWELL),
    ],
)
def test_flash_is_called_as_documented(
    gpu: Any, install: Install, name: str, function: Any, capability: tuple[int, int]
) -> None:
    """Arguments by name, sequences before heads, not causal, and the output alone of what comes back."""
    gpu(capability)
    install(**{name: function})
    choice = choose("auto", CUDA, torch.bfloat16)
    assert (choice.name, choice.reason) == (name, "installed, and made for this device and dtype")
    q, k, v = heads(torch.bfloat16)
    found = choice.kernel(q, k, v, 0.3)
    np.testing.assert_allclose(found.double().numpy(), reference(q, k, v, 0.3), rtol=0, atol=2e-2)
    assert torch.equal(choose(name, CUDA, torch.bfloat16).kernel(q, k, v, 0.3), found)


@pytest.mark.parametrize(
    ("name", "function", "capability"),
    [
        ("flash2", flash2, AMPERE),
        ("flash3", flash3, HOPPER),
        ("flash3", older_flash3, HOPPER),
        ("flash4", flash4, BLACKWELL),
    ],
)
def test_flash_is_causal_where_the_model_is(
    gpu: Any, install: Install, name: str, function: Any, capability: tuple[int, int]
) -> None:
    gpu(capability)
    install(**{name: function})
    q, k, v = heads(torch.bfloat16)
    later = [x.clone() for x in (q, k, v)]
    for x in later:
        x[:, 7:] += 1
    for asked in (name, "auto"):
        kernel = choose(asked, CUDA, torch.bfloat16, "causal").kernel
        found, other = kernel(q, k, v, 0.3), kernel(*later, 0.3)
        assert torch.equal(found[:, :7], other[:, :7])
        torch.testing.assert_close(found, eager(q, k, v, 0.3, causal=True), rtol=0, atol=2e-2)
    full = choose(name, CUDA, torch.bfloat16).kernel
    assert not torch.equal(full(q, k, v, 0.3)[:, :7], full(*later, 0.3)[:, :7])


def test_flash_is_refused_where_a_mask_is_needed(gpu: Any, install: Install) -> None:
    gpu(HOPPER)
    install(flash2=flash2, flash3=flash3, flash4=flash4)
    expected = (
        "--attention flash3 cannot be used: it takes no mask, which model.attention=prefix needs; "
        "--attention auto takes what is there"
    )
    with pytest.raises(BackendError) as caught:
        choose("flash3", CUDA, torch.bfloat16, "prefix")
    assert str(caught.value) == expected
    choice = choose("auto", CUDA, torch.bfloat16, "prefix")
    assert (choice.name, choice.kernel) == ("sdpa", sdpa)
    assert "it takes no mask" in choice.reason


@pytest.mark.parametrize("dtype", LIMITS, ids=str)
def test_kernels_agree_on_what_is_visible(dtype: Any) -> None:
    """Rows that see more and more, and causal attention as a mask of its own."""
    q, k, v = heads(dtype)
    positions = torch.arange(T)
    ends = torch.tensor([3, 7])[:, None, None, None]
    visible = (positions <= positions[:, None]) | (positions < ends)
    expected = eager(q, k, v, 0.3, visible)
    torch.testing.assert_close(sdpa(q, k, v, 0.3, visible), expected, rtol=0, atol=LIMITS[dtype])
    triangle = (positions <= positions[:, None])[None, None]
    for kernel in (eager, sdpa):
        torch.testing.assert_close(
            kernel(q, k, v, 0.3, causal=True),
            kernel(q, k, v, 0.3, triangle.expand(B, 1, T, T)),
            rtol=0,
            atol=LIMITS[dtype],
        )
    assert (expected - eager(q, k, v, 0.3)).abs().max() > 0.1


@pytest.mark.parametrize("calling", ["by place", "heads first", "as a tuple"])
def test_other_calling_conventions_would_be_noticed(calling: str) -> None:
    """The control of the test above: the mistakes that the documentation warns of."""
    q, k, v = heads(torch.bfloat16)
    expected = reference(q, k, v, 0.3)
    if calling == "by place":
        with pytest.raises(AssertionError):
            flash2(q, k, v, 0.3)  # 0.3 is taken for dropout_p
    elif calling == "heads first":
        found = flash2(*(x.transpose(1, 2) for x in (q, k, v)), softmax_scale=0.3).transpose(1, 2)
        assert np.abs(found.double().numpy() - expected).max() > 0.1
    else:
        with pytest.raises(AttributeError):
            flash4(q, k, v, softmax_scale=0.3).transpose(1, 2)


@pytest.mark.parametrize(
    ("capability", "expected"),
    [
        (AMPERE, "flash2"),
        (HOPPER, "flash3"),
        (BLACKWELL, "flash4"),
        ((12, 0), "flash4"),
        (TURING, "sdpa"),
    ],
)
def test_each_gpu_gets_the_newest_made_for_it(
    gpu: Any, install: Install, capability: tuple[int, int], expected: str
) -> None:
    gpu(capability)
    install(flash2=flash2, flash3=flash3, flash4=flash4)
    choice = choose("auto", CUDA, torch.bfloat16)
    assert choice.name == expected
    if expected == "sdpa":
        assert "flash2: it is not made for GPUs of compute capability 7.5" in choice.reason


def test_next_one_is_taken_where_the_preferred_is_missing(gpu: Any, install: Install) -> None:
    gpu(HOPPER)
    install(flash2=flash2, flash4=flash4)
    assert choose("auto", CUDA, torch.bfloat16).name == "flash4"
    install(flash2=flash2)
    assert choose("auto", CUDA, torch.bfloat16).name == "flash2"
    install()
    choice = choose("auto", CUDA, torch.bfloat16)
    assert (choice.name, choice.kernel) == ("sdpa", sdpa)
    for words in (
        "flash3: flash_attn_interface cannot be imported",
        "pip install --pre flash-attn-4",
        "needs nvcc",
    ):
        assert words in choice.reason


def test_module_without_the_function_is_passed_over(gpu: Any, install: Install) -> None:
    gpu(AMPERE)
    install(flash2=None)
    assert "flash_attn has no flash_attn_func" in choose("auto", CUDA, torch.bfloat16).reason
    with pytest.raises(
        BackendError,
        match="--attention flash2 cannot be used: flash_attn has no flash_attn_func; "
        "pip install kernels, and --attention flash2 fetches it built",
    ):
        choose("flash2", CUDA, torch.bfloat16)


@pytest.mark.parametrize("kind", ["ImportError", "AttributeError"])
def test_module_that_breaks_at_import_is_told_in_one_line(
    gpu: Any, install: Install, tmp_path: Any, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    gpu(HOPPER)
    install()
    monkeypatch.delitem(sys.modules, "flash_attn_interface")
    (tmp_path / "flash_attn_interface.py").write_text(
        f"raise {kind}('flash_attn_3_cuda.so: undefined symbol: _ZN3c10\\nbuilt for 12')"
    )
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(
        BackendError,
        match=r"cannot be imported \(flash_attn_3_cuda\.so: undefined symbol: _ZN3c10 built for 12\); pip install",
    ):
        choose("flash3", CUDA, torch.bfloat16)


KERNELS = """
from types import SimpleNamespace

fetched = []

def get_kernel(repo_id, *, version):
    fetched.append((repo_id, version))
    if version != 2:
        raise FileNotFoundError(f"no build of {repo_id} for this torch")
    return SimpleNamespace(flash_attn_func=function)
"""


@pytest.fixture
def kernels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The package kernels, in the form of kernels 0.17, with builds of version 2 alone."""
    (tmp_path / "kernels.py").write_text(KERNELS)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "kernels", raising=False)
    module = import_module("kernels")
    module.function = flash2
    yield module
    del sys.modules["kernels"]


def test_flash_that_is_asked_for_is_fetched_built(gpu: Any, install: Install, kernels: Any) -> None:
    gpu(AMPERE)
    install()
    found = choose("flash2", CUDA, torch.bfloat16)
    assert kernels.fetched == [("kernels-community/flash-attn2", 2)]
    assert found.reason == "asked for, fetched from kernels-community/flash-attn2"
    q, k, v = heads(torch.bfloat16)
    expected = reference(q, k, v, 0.3)
    np.testing.assert_allclose(
        found.kernel(q, k, v, 0.3).double().numpy(), expected, rtol=0, atol=2e-2
    )


def test_nothing_is_fetched_that_is_not_asked_for(gpu: Any, install: Install, kernels: Any) -> None:
    gpu(AMPERE)
    install()
    assert choose("auto", CUDA, torch.bfloat16).name == "sdpa"
    install(flash2=flash2)
    assert choose("flash2", CUDA, torch.bfloat16).name == "flash2"
    assert kernels.fetched == []


def test_failed_fetch_is_told_in_one_line(gpu: Any, install: Install, kernels: Any) -> None:
    gpu(HOPPER)
    install()
    with pytest.raises(
        BackendError,
        match=r"kernels-community/flash-attn3 cannot be fetched \(no build of .* for this torch\); check the network",
    ):
        choose("flash3", CUDA, torch.bfloat16)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_flash_takes_no_wide_dtype(gpu: Any, install: Install, dtype: Any) -> None:
    gpu(HOPPER)
    install(flash2=flash2, flash3=flash3, flash4=flash4)
    assert choose("auto", CUDA, dtype).name == ("sdpa" if dtype == torch.float32 else "eager")
    with pytest.raises(
        BackendError,
        match=f"it takes bfloat16, the dtype is {str(dtype)[6:]}; --attention auto takes what is there",
    ):
        choose("flash3", CUDA, dtype)


def test_float64_is_written_out() -> None:
    assert choose("auto", CPU, torch.float64)[:2] == ("eager", eager)
    assert choose("auto", CPU, torch.float32)[:2] == ("sdpa", sdpa)
    assert choose("auto", CPU, torch.bfloat16).reason == "flash-attn is for CUDA"
    assert choose("sdpa", CPU, torch.float64)[:2] == ("sdpa", sdpa)
    assert choose("eager", CPU, torch.bfloat16)[:2] == ("eager", eager)


@pytest.mark.parametrize("name", FLASH)
def test_flash_is_refused_on_a_cpu(
    install: Install, name: str, refusal: Callable[..., str], tiny_run: Any
) -> None:
    install(flash2=flash2, flash3=flash3, flash4=flash4)
    expected = f"--attention {name} cannot be used: it runs on CUDA, the device is cpu; --attention auto takes what is there"
    with pytest.raises(BackendError) as caught:
        choose(name, CPU, torch.bfloat16)
    assert str(caught.value) == expected
    assert (
        refusal(
            "eval",
            tiny_run,
            "--backend",
            "torch",
            "--device",
            "cpu",
            "--attention",
            name,
            "--dtype",
            "bfloat16",
        )
        == expected
    )


def test_doctor_says_which_and_why(
    monkeypatch: pytest.MonkeyPatch, gpu: Any, install: Install
) -> None:
    monkeypatch.setattr(devices, "choose_device", lambda device: CPU)
    assert devices.facts()["torch attention"] == "sdpa (flash-attn is for CUDA)"
    monkeypatch.setattr(devices, "choose_device", lambda device: CUDA)
    monkeypatch.setattr(devices, "device_name", lambda device: "NVIDIA H100")
    gpu(HOPPER)
    install(flash4=flash4)
    assert devices.facts()["torch device"] == "cuda NVIDIA H100"
    assert (
        devices.facts()["torch attention"]
        == "flash4 (installed, and made for this device and dtype)"
    )


def test_model_computes_with_the_kernel_that_was_chosen(monkeypatch: pytest.MonkeyPatch) -> None:
    """A kernel that counts its calls: two layers a step for each of the six level calls of two by two cycles."""
    calls = []

    def counting(q: Any, k: Any, v: Any, *, softmax_scale: float, causal: bool) -> tuple[Any, str]:
        calls.append((tuple(q.shape), softmax_scale, causal))
        return computed(q, k, v, softmax_scale, causal), "log-sum-exp"

    monkeypatch.setattr(attention, "_check_fits", lambda *_: None)
    monkeypatch.setattr(
        attention,
        "import_module",
        lambda _: type("flash_attn", (), {"flash_attn_func": staticmethod(counting)}),
    )
    sizes = {
        "vocab_size": 7,
        "seq_len": 9,
        "num_puzzle_identifiers": 3,
        "puzzle_emb_ndim": 32,
        "hidden_size": 32,
        "num_heads": 4,
    }
    config = ModelConfig.model_validate(
        {**sizes, "H_layers": 2, "L_layers": 2, "halt_max_steps": 3}
    )
    answers = {}
    for name in ("flash4", "eager"):
        backend = TorchBackend(
            config, BackendOptions(device="cpu", dtype="bfloat16", attention=name)
        )
        backend.load_weights(initial_values(config, seed=0))
        assert backend.describe()["attention"] == name
        tokens = np.arange(18, dtype=np.int32).reshape(2, 9) % 7
        answers[name] = backend.step(backend.begin(Batch(tokens, tokens, np.zeros(2, np.int32))))[
            1
        ].logits
    assert calls == [((2, 10, 4, 8), 8**-0.5, False)] * 12
    np.testing.assert_allclose(answers["flash4"], answers["eager"], atol=0.1)
