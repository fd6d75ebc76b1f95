import numpy as np
import pytest

from hrm_core.config import DataSizes, ModelConfig, TrainConfig, load_config
from hrm_core.sizing import (
    BLOCK_VALUES,
    FITTING,
    LONG,
    activation_bytes,
    carry_bytes,
    cell_blocks,
    duration,
    evaluations_text,
    fitting_micro_batch,
    fitting_text,
    flops_per_answer,
    flops_per_example,
    plan_text,
    sizes_text,
    state_bytes,
    update_bytes,
    with_micro_batch,
)

PAPER = load_config("sudoku-extreme-1k").model.sized(DataSizes(11, 81, 1))


def changed(**changes: object) -> ModelConfig:
    return ModelConfig.model_validate({**PAPER.model_dump(), **changes})


def test_flops_of_a_step_are_those_of_its_matrices() -> None:
    T, D, intermediate = 82, 512, 1536
    one_layer = (
        2 * T * D * 3 * D
        + 2 * T * D * D
        + 2 * T * T * D * 2
        + 2 * T * D * 2 * intermediate
        + 2 * T * intermediate * D
    )
    layer_passes = 2 * (2 * 4 + 4)  # H cycles of L cycles of L layers, and H layers
    assert flops_per_example(PAPER) == one_layer * (
        2 * layer_passes + 2 * 8
    )  # two forwards; a gradient of 8 layers at twice their cost
    assert flops_per_example(changed(halt_max_steps=1)) == one_layer * (layer_passes + 2 * 8)


def test_flops_of_an_answer_are_its_forwards_and_evaluations_are_counted() -> None:
    of_training = flops_per_example(changed(halt_max_steps=1))  # 24 layers forward, 16 twice back
    assert flops_per_answer(changed(halt_max_steps=1)) == of_training * 24 / 40
    assert flops_per_answer(PAPER) == 16 * flops_per_answer(changed(halt_max_steps=1))
    seconds = 1000 * flops_per_answer(PAPER) / 1e13
    assert evaluations_text(PAPER, 30, 1000, 1e13) == (
        "30 evaluations of 1,000 examples in 16 ACT steps: at least "
        f"{duration(seconds)} each, {duration(30 * seconds)} in all"
    )


def test_memory_of_state_and_carry() -> None:
    assert state_bytes(PAPER) == 4 * (4 * 27_275_266 + 512)
    assert state_bytes(changed(puzzle_emb_ndim=0)) == 4 * 4 * 27_275_266
    assert carry_bytes(PAPER, 768) == 2 * 768 * 82 * 512 * 2
    assert (
        carry_bytes(changed(forward_dtype="float32"), 768)
        == carry_bytes(PAPER, 768, "float32")
        == 2 * carry_bytes(PAPER, 768)
    )


def test_memory_of_activations_grows_with_the_slots_at_once() -> None:
    """tests/hrm_mlx/test_memory.py holds the figures themselves against what an update takes."""
    assert (
        activation_bytes(PAPER, 8, "float32")
        == 2 * activation_bytes(PAPER, 8, "bfloat16")
        == 8 * activation_bytes(PAPER, 1, "float32")
    )
    whole, pieces = (
        TrainConfig(global_batch_size=768, micro_batch_size=micro_batch, epochs=1, eval_interval=1)
        for micro_batch in (None, 96)
    )
    saved = (
        activation_bytes(PAPER, 768 - 96, "bfloat16") - 4 * 27_275_266
    )  # the gradients of a piece and their sum
    assert update_bytes(PAPER, whole, "bfloat16") - update_bytes(PAPER, pieces, "bfloat16") == saved
    assert "in bfloat16 with 96 slots in the network at once" in plan_text(
        PAPER, pieces, 10, 1e12, "bfloat16"
    )


def test_long_sequences_keep_the_attention_weights_of_one_layer() -> None:
    short, long = changed(seq_len=LONG - 2), changed(seq_len=LONG - 1)
    weights = PAPER.num_heads * LONG**2 * 8 * 4  # of 8 layers in float32
    assert (
        activation_bytes(short, 1, "float32") - activation_bytes(long, 1, "float32") > 0.9 * weights
    )


GIB = 2**30
PAPERS_BATCH = TrainConfig(global_batch_size=768, epochs=1, eval_interval=1)


@pytest.mark.parametrize(
    ("memory", "size"),
    [(0.5, None), (2, 35), (4, 110), (8, 256), (16, 384), (24, 768)],  # 110: a 7th of 768
)
def test_most_slots_at_once_that_fit_are_chosen(memory: float, size: int | None) -> None:
    found = fitting_micro_batch(PAPER, PAPERS_BATCH, "bfloat16", int(memory * GIB))
    assert found == size


@pytest.mark.parametrize("batch_size", [1, 7, 768, 1000])
@pytest.mark.parametrize("memory", [2.0, 3.0, 9.0])
def test_one_part_fewer_would_not_fit(batch_size: int, memory: float) -> None:
    train = PAPERS_BATCH.model_copy(update={"global_batch_size": batch_size})
    room = FITTING * memory * GIB
    size = fitting_micro_batch(PAPER, train, "float32", int(memory * GIB))
    assert size is not None
    assert update_bytes(PAPER, with_micro_batch(train, size), "float32") <= room
    num_parts = -(-batch_size // size)
    if num_parts > 1:
        more = -(-batch_size // (num_parts - 1))
        assert update_bytes(PAPER, with_micro_batch(train, more), "float32") > room


def test_micro_batch_that_fits_is_told_as_the_option_to_type() -> None:
    texts = [
        fitting_text(PAPER, PAPERS_BATCH, "bfloat16", int(memory * GIB)) for memory in (0.5, 4, 24)
    ]
    needed = update_bytes(PAPER, with_micro_batch(PAPERS_BATCH, 110), "bfloat16") / GIB
    assert texts == [
        "512.00 MiB of memory are free here: too little even for one slot at once; "
        "take a smaller model or a lower --batch-size",
        f"4.00 GiB of memory are free here: --micro-batch 110 fits, with about {needed:.2f} GiB",
        "24.00 GiB of memory are free here: all 768 slots fit at once",
    ]


def test_text_tells_the_numbers() -> None:
    text = sizes_text(PAPER, 768)
    for words in (
        "27,275,266 trainable parameters",
        "512 values in the puzzle table of 1 x 512",
        "36.65 GFLOP an example",
    ):
        assert words in text


@pytest.mark.parametrize(
    "shape", [(256, 81, 12), (768, 900, 12), (3, 1024, 50265), (2, 2, BLOCK_VALUES + 1), (1, 1, 2)]
)
def test_blocks_hold_every_row_once_and_no_more_than_they_may(shape: tuple[int, int, int]) -> None:
    num_slots, num_cells, vocab_size = shape
    met = np.zeros((num_slots, num_cells), int)
    for block in cell_blocks(shape):
        met[block] += 1
        rows = met[block].size
        assert rows == 1 or rows * vocab_size <= BLOCK_VALUES
    assert (met == 1).all()
    assert len(list(cell_blocks((256, 81, 12)))) == 1


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(3e-5, "0.03 ms"), (0.02, "0.02 s"), (8.5, "8.5 s"), (1500, "25.0 min"), (11_520, "3.2 h")],
)
def test_times_have_no_powers_of_ten(seconds: float, text: str) -> None:
    assert duration(seconds) == text
