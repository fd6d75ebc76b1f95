import mlx.core as mx
import numpy as np

from hrm_core.config import ModelConfig
from hrm_mlx.act import Data, Start, empty_carry, halting, refill
from hrm_mlx.model import Output

SIZES = {
    "vocab_size": 5,
    "seq_len": 3,
    "num_puzzle_identifiers": 4,
    "puzzle_emb_ndim": 0,
    "hidden_size": 8,
    "num_heads": 2,
}
CONFIG = ModelConfig.model_validate({**SIZES, "H_layers": 1, "L_layers": 1, "halt_max_steps": 4})
START = Start(mx.full((8,), 2.0), mx.full((8,), 3.0))


def data(first: int) -> Data:
    rows = mx.arange(first, first + 2)
    return Data(
        mx.broadcast_to(rows[:, None], (2, 3)),
        mx.broadcast_to(rows[:, None] + 10, (2, 3)),
        rows + 20,
    )


def output(q_halt: list[float], q_continue: list[float]) -> Output:
    z = mx.zeros((len(q_halt), 3, 8))
    return Output(z, z, mx.zeros((len(q_halt), 3, 5)), mx.array(q_halt), mx.array(q_continue))


def halts(
    q_halt: float, q_continue: float, steps: int, min_steps: int = 0, config: ModelConfig = CONFIG
) -> tuple[bool, bool]:
    halted, last = halting(
        output([q_halt], [q_continue]), mx.array([steps]), mx.array([min_steps]), config
    )
    return halted.item(), last.item()


def test_first_step_fills_every_slot() -> None:
    carry = refill(empty_carry(CONFIG, 2, mx.float32), data(0), START)
    assert mx.array_equal(carry.data.inputs, data(0).inputs)
    assert (carry.z_H == 2.0).all()
    assert (carry.z_L == 3.0).all()


def test_only_halted_slots_take_new_rows() -> None:
    carry = refill(empty_carry(CONFIG, 2, mx.float32), data(0), START)
    busy = carry._replace(
        z_H=carry.z_H * 5, z_L=carry.z_L * 5, steps=mx.array([2, 4]), halted=mx.array([False, True])
    )
    after = refill(busy, data(6), START)
    np.testing.assert_array_equal(np.array(after.steps), [2, 0])
    np.testing.assert_array_equal(np.array(after.data.puzzle_identifiers), [20, 27])
    np.testing.assert_array_equal(np.array(after.data.labels[:, 0]), [10, 17])
    np.testing.assert_array_equal(np.array(after.data.inputs[:, 0]), [0, 7])
    np.testing.assert_array_equal(np.array(after.z_H[:, 0, 0]), [10, 2])
    np.testing.assert_array_equal(np.array(after.z_L[:, 0, 0]), [15, 3])


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
