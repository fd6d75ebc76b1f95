"""Operations that are counted in a forward beside those of the formula."""

from dataclasses import replace

import pytest
from beyond import (
    PICTURES,
    PREFIX_LEN,
    B,
    V,
    drawn_batch,
    drawn_images,
    drawn_weights,
    looking,
    seeing,
)

from hrm_core.backend import BackendOptions
from hrm_core.config import ModelConfig
from hrm_core.sizing import flops_per_example
from hrm_parity.checks import backend_named


@pytest.mark.parametrize("kind", ["full", "causal", "prefix", *PICTURES])
def test_operations_of_a_forward_are_those_of_the_formula(kind: str) -> None:
    """One forward and the embedding, but for both heads, counted by PyTorch."""
    pytest.importorskip("torch")
    from torch.utils.flop_counter import FlopCounterMode

    config = looking(kind) if kind in PICTURES else seeing(kind, 32)
    backend = backend_named("torch")(config, BackendOptions(device="cpu", attention="eager"))
    backend.load_weights(drawn_weights(config))
    batch = replace(drawn_batch(0, config.num_chunks), prefix_len=PREFIX_LEN)
    if config.patch_size:
        batch = replace(batch, images=drawn_images(config))
    carry = backend.begin(batch)
    with FlopCounterMode(display=False) as counter:
        if config.num_chunks == 1:
            backend.begin(batch)
        backend.step(carry)
    heads = 2 * config.hidden_size * (config.total_len * V + 2)
    assert counter.get_total_flops() == B * (forward_flops(config) + heads)


def forward_flops(config: ModelConfig) -> float:
    """Those of one forward: a second one and the gradient of both levels and of the patches are taken away."""
    fixed = config.model_copy(update={"halting": "fixed"})
    D, T, I = config.hidden_size, config.total_len, config.intermediate_size  # noqa: E741
    layer = 2 * T * (4 * D * D + 3 * D * I) + 4 * T * T * D
    gradient = 2 * layer * (config.H_layers + config.L_layers)
    patches = 2 * config.num_patches * (config.patch_size or 0) ** 2 * D
    return flops_per_example(fixed) - gradient - patches
