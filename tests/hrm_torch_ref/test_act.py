from functools import partial
from typing import Any

import numpy as np
import pytest

from hrm_core.config import ModelConfig
from hrm_core.parameters import Role, initial_values, parameter_table

torch = pytest.importorskip("torch", reason="torch is missing: the PyTorch reference is not tested")

from hrm_torch_ref import attention  # noqa: E402
from hrm_torch_ref.act import Carry, Data, Start, StepLoss, empty_carry, halting, refill, step_loss  # noqa: E402
from hrm_torch_ref.model import HRM, Lending, Output  # noqa: E402

SIZES = {
    "vocab_size": 5,
    "seq_len": 3,
    "num_puzzle_identifiers": 4,
    "puzzle_emb_ndim": 0,
    "hidden_size": 8,
    "num_heads": 2,
}
CONFIG = ModelConfig.model_validate({**SIZES, "H_layers": 1, "L_layers": 1, "halt_max_steps": 4})
CPU = torch.device("cpu")
START = Start(torch.full((8,), 2.0), torch.full((8,), 3.0))
B = 4


def data(first: int) -> Data:
    rows = torch.arange(first, first + 2, dtype=torch.int32)
    return Data(rows[:, None].expand(2, 3), rows[:, None].expand(2, 3) + 10, rows + 20)


def output(q_halt: list[float], q_continue: list[float]) -> Output:
    z = torch.zeros(len(q_halt), 3, 8)
    return Output(
        z, z, torch.zeros(len(q_halt), 3, 5), torch.tensor(q_halt), torch.tensor(q_continue)
    )


def halts(
    q_halt: float, q_continue: float, steps: int, min_steps: int = 0, config: ModelConfig = CONFIG
) -> tuple[bool, bool]:
    halted, last = halting(
        output([q_halt], [q_continue]), torch.tensor([steps]), torch.tensor([min_steps]), config
    )
    return halted.item(), last.item()


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64])
def test_first_step_fills_every_slot(dtype: Any) -> None:
    carry = refill(
        empty_carry(CONFIG, 2, dtype, CPU), data(0), Start(*(z.to(dtype) for z in START))
    )
    for found, expected in zip(carry.data[:3], data(0)[:3], strict=True):
        assert torch.equal(found, expected)
        assert found.dtype == torch.int32
    assert {carry.z_H.dtype, carry.z_L.dtype} == {dtype}
    assert (carry.z_H == 2.0).all()
    assert (carry.z_L == 3.0).all()
    assert carry.steps.dtype == torch.int32


def test_only_halted_slots_take_new_rows() -> None:
    carry = refill(empty_carry(CONFIG, 2, torch.float32, CPU), data(0), START)
    steps = torch.tensor([2, 4], dtype=torch.int32)
    busy = carry._replace(
        z_H=carry.z_H * 5, z_L=carry.z_L * 5, steps=steps, halted=torch.tensor([False, True])
    )
    after = refill(busy, data(6), START)
    assert after.steps.tolist() == [2, 0]
    assert after.data.puzzle_identifiers.tolist() == [20, 27]
    assert after.data.labels[:, 0].tolist() == [10, 17]
    assert after.data.inputs[:, 0].tolist() == [0, 7]
    assert after.z_H[:, 0, 0].tolist() == [10, 2]
    assert after.z_L[:, 0, 0].tolist() == [15, 3]


def test_slot_halts_when_halting_is_worth_more() -> None:
    assert halts(1.0, 0.5, steps=1) == (True, False)
    assert halts(0.5, 1.0, steps=1) == (False, False)


def test_tie_does_not_halt() -> None:
    assert halts(-5.0, -5.0, steps=1) == (False, False)


def test_last_step_halts_whatever_it_is_worth() -> None:
    assert halts(0.0, 1.0, steps=4) == (True, True)
    assert halts(0.0, 1.0, steps=4, min_steps=4) == (True, True)


def test_exploration_keeps_a_slot_going() -> None:
    assert halts(1.0, 0.0, steps=2, min_steps=3) == (False, False)
    assert halts(1.0, 0.0, steps=3, min_steps=3) == (True, False)


def test_single_step_models_always_halt() -> None:
    assert halts(
        0.0, 1.0, steps=1, min_steps=0, config=CONFIG.model_copy(update={"halt_max_steps": 1})
    ) == (True, True)


class Step:
    """One ACT step of a float64 model whose Q head decides, from a carry in the middle of its work."""

    def __init__(self, config: ModelConfig = CONFIG) -> None:
        rng = np.random.default_rng(0)
        self.config = config
        self.model = HRM(config, torch.float64, CPU, attention.eager)
        values = initial_values(config, seed=0)
        values["q_head.weight"] = rng.standard_normal((2, 8), np.float32)
        values["q_head.bias"] = np.zeros(2, np.float32)
        trained = [
            name
            for name, parameter in parameter_table(config).items()
            if parameter.role is Role.TRAINED
        ]
        self.weights = {
            name: torch.tensor(values[name]).double().requires_grad_() for name in trained
        }
        z_H, z_L = torch.tensor(rng.standard_normal((2, B, 3, 8)))
        inputs, labels = torch.tensor(rng.integers(0, 5, (2, B, 3), dtype=np.int32))
        labels[0] = -100
        self.steps = torch.tensor([0, 1, 2, 3], dtype=torch.int32)
        self.carry = Carry(
            z_H,
            z_L,
            self.steps,
            torch.zeros(B, dtype=torch.bool),
            Data(inputs, labels, torch.zeros(B, dtype=torch.int32)),
        )

    def loss(self, **changes: Any) -> StepLoss:
        function = partial(step_loss, global_batch_size=16)
        found: StepLoss = Lending(self.model, function).call(
            self.weights, self.carry._replace(**changes), None, torch.zeros(B, dtype=torch.int32)
        )
        return found

    def think(self, z_H: Any, z_L: Any) -> Output:
        x = Lending(self.model, HRM.embed).call(self.weights, self.carry.data.inputs, None)
        found: Output = Lending(self.model, HRM.__call__).call(self.weights, z_H, z_L, x)
        return found


def test_target_is_what_the_next_step_is_worth() -> None:
    """From the new carry; where this step was the last one, halting is all there is."""
    step = Step()
    found = step.loss()
    following = step.think(found.carry.z_H, found.carry.z_L)
    better = torch.maximum(following.q_halt_logits, following.q_continue_logits)
    expected = torch.where(step.steps + 1 >= 4, following.q_halt_logits, better).sigmoid()
    torch.testing.assert_close(found.target_q_continue, expected.detach(), rtol=1e-12, atol=0)
    assert not torch.equal(
        better, following.q_halt_logits
    )  # or the test would not see the difference
    from_old_carry = step.think(step.carry.z_H, step.carry.z_L)
    assert (from_old_carry.q_halt_logits.sigmoid() - expected).abs().min() > 1e-4


def test_target_and_carry_have_no_gradient() -> None:
    found = Step().loss()
    assert found.total.requires_grad
    assert not any(
        tensor.requires_grad
        for tensor in (found.target_q_continue, found.carry.z_H, found.carry.z_L)
    )
    assert not any(value.requires_grad for value in found.metrics.values())


def test_gradient_of_the_q_head_is_that_of_a_constant_target() -> None:
    """sigmoid(q) - target for each slot, times half, over the global batch size; a target with a gradient would show."""
    step = Step()
    found = step.loss()
    (gradient,) = torch.autograd.grad(found.total, step.weights["q_head.bias"])
    q_halt, q_continue = (
        q.detach() for q in (found.output.q_halt_logits, found.output.q_continue_logits)
    )
    right = torch.tensor([1.0, 0, 0, 0])  # the row without labels; no other is entirely right
    expected = (
        torch.stack(
            [
                (q_halt.sigmoid() - right).sum(),
                (q_continue.sigmoid() - found.target_q_continue).sum(),
            ]
        )
        * 0.5
        / 16
    )
    torch.testing.assert_close(gradient, expected, rtol=1e-12, atol=0)


def test_total_is_the_sum_of_its_parts_over_the_global_batch() -> None:
    step = Step()
    found = step.loss()
    logits, labels = found.output.logits.detach().numpy(), step.carry.data.labels.numpy()
    scores = np.where(logits < 0, 1 / (1 - np.minimum(logits, 0)), logits + 1)
    shares = scores / scores.sum(axis=-1, keepdims=True)
    losses = [
        -np.log(np.take_along_axis(shares[i], labels[i][:, None], axis=-1)).mean()
        for i in range(1, B)
    ]
    assert found.metrics["lm_loss"].item() == pytest.approx(sum(losses), rel=1e-12)
    q = {
        name: getattr(found.output, f"{name}_logits").detach().numpy()
        for name in ("q_halt", "q_continue")
    }
    right = np.array([1.0, 0, 0, 0])
    assert found.metrics["q_halt_loss"].item() == pytest.approx(
        (np.logaddexp(0, q["q_halt"]) - q["q_halt"] * right).sum(), rel=1e-12
    )
    target = found.target_q_continue.numpy()
    q_continue_loss = (np.logaddexp(0, q["q_continue"]) - q["q_continue"] * target).sum()
    assert found.metrics["q_continue_loss"].item() == pytest.approx(q_continue_loss, rel=1e-12)
    parts = {
        name: found.metrics[name].item() for name in ("lm_loss", "q_halt_loss", "q_continue_loss")
    }
    assert found.total.item() == pytest.approx(
        (parts["lm_loss"] + 0.5 * (parts["q_halt_loss"] + parts["q_continue_loss"])) / 16, rel=1e-12
    )


def test_metrics_count_halted_slots_with_labels() -> None:
    step = Step()
    found = step.loss()
    halted = found.carry.halted.tolist()
    assert halted[3]  # its fourth step of four
    counted = [i for i in range(B) if halted[i] and i != 0]  # slot 0 has no labels
    labels, answers = step.carry.data.labels, found.output.logits.argmax(dim=-1)
    values = {
        name: found.metrics[name].item()
        for name in ("count", "steps", "accuracy", "exact_accuracy", "q_halt_accuracy")
    }
    assert values["count"] == len(counted)
    assert values["steps"] == sum(step.steps[i].item() + 1 for i in counted)
    assert values["accuracy"] == pytest.approx(
        sum((answers[i] == labels[i]).double().mean().item() for i in counted)
    )
    exact = [bool((answers[i] == labels[i]).all()) for i in range(B)]
    assert values["exact_accuracy"] == sum(exact[i] for i in counted)
    assert values["q_halt_accuracy"] == sum(
        bool(found.output.q_halt_logits[i] >= 0) == exact[i] for i in counted
    )


def test_model_of_one_step_has_no_target() -> None:
    found = Step(CONFIG.model_copy(update={"halt_max_steps": 1})).loss()
    assert not found.target_q_continue.any()
    assert found.metrics["q_continue_loss"] == 0
    assert found.carry.halted.all()


def test_puzzle_vector_has_a_gradient() -> None:
    config = CONFIG.model_copy(update={"puzzle_emb_ndim": 8})
    step = Step(config)
    vectors = torch.zeros(B, 8, dtype=torch.float64, requires_grad=True)
    z = torch.zeros(B, 4, 8, dtype=torch.float64)
    carry = step.carry._replace(z_H=z, z_L=z)
    function = partial(step_loss, global_batch_size=16)
    found = Lending(step.model, function).call(
        step.weights, carry, vectors, torch.zeros(B, dtype=torch.int32)
    )
    (gradient,) = torch.autograd.grad(found.total, vectors)
    assert gradient.any(dim=1).tolist() == [True] * B
