import hashlib
from collections.abc import Mapping

import ml_dtypes
import numpy as np
import pytest

from hrm_core.config import DataSizes, ModelConfig, load_config
from hrm_core.parameters import (
    PUZZLE_TABLE,
    Role,
    initial_values,
    num_trainable,
    parameter_table,
    truncated_normal,
)

PAPER = load_config("sudoku-extreme-1k").model.sized(DataSizes(11, 81, 1))
SMALL = load_config("sudoku-4x4").model.sized(DataSizes(6, 16, 1))


def checksum(values: Mapping[str, np.ndarray]) -> str:
    total = hashlib.sha256()
    for name, array in values.items():
        total.update(name.encode() + array.tobytes())
    return total.hexdigest()


def changed(config: ModelConfig, **changes: object) -> ModelConfig:
    return ModelConfig.model_validate({**config.model_dump(), **changes})


def test_the_papers_model_has_the_papers_number_of_parameters() -> None:
    assert num_trainable(PAPER) == 27_275_266
    assert (
        num_trainable(changed(PAPER, num_puzzle_identifiers=1000)) == 27_275_266
    )  # the puzzle table is not counted


def test_table_names_every_tensor_with_its_shape() -> None:
    table = parameter_table(
        changed(PAPER, H_layers=1, L_layers=1, pos_encodings="learned", num_puzzle_identifiers=3)
    )
    block = {
        "self_attn.qkv_proj.weight": (1536, 512),
        "self_attn.o_proj.weight": (512, 512),
        "mlp.gate_up_proj.weight": (3072, 512),
        "mlp.down_proj.weight": (512, 1536),
    }
    assert {name: parameter.shape for name, parameter in table.items()} == {
        "embed_tokens.embedding_weight": (11, 512),
        "embed_pos.embedding_weight": (82, 512),
        "puzzle_emb.weights": (3, 512),
        **{
            f"{level}_level.layers.0.{name}": shape
            for level in "HL"
            for name, shape in block.items()
        },
        "lm_head.weight": (11, 512),
        "q_head.weight": (2, 512),
        "q_head.bias": (2,),
        "H_init": (512,),
        "L_init": (512,),
    }
    assert [name for name, parameter in table.items() if parameter.role is not Role.TRAINED] == [
        PUZZLE_TABLE,
        "H_init",
        "L_init",
    ]


def test_names_are_those_of_the_recorded_weights(golden_dir) -> None:
    from safetensors.numpy import load_file

    config = changed(
        SMALL,
        vocab_size=7,
        num_puzzle_identifiers=5,
        puzzle_emb_ndim=64,
        H_layers=2,
        L_layers=2,
        pos_encodings="rope",
    )
    recorded = load_file(golden_dir / "rope_stablemax_f32" / "weights.safetensors")
    assert {name: array.shape for name, array in recorded.items()} == {
        n: p.shape for n, p in parameter_table(config).items()
    }


@pytest.mark.parametrize("std", [0.044, 1.0])
def test_truncated_normal_has_the_deviation_asked_for(std: float) -> None:
    values = truncated_normal(np.random.default_rng(0), (1000, 1000), std)
    assert values.dtype == np.float32
    assert values.std() == pytest.approx(std, rel=3e-3)
    assert abs(values.mean()) < 4e-3 * std
    assert np.abs(values).max() == pytest.approx(2 * std / 0.87962566, rel=1e-3)


def test_initial_deviations_are_those_of_the_fan_in() -> None:
    values = initial_values(PAPER, seed=1)
    for name, std in {
        "embed_tokens.embedding_weight": 512**-0.5,
        "H_level.layers.0.self_attn.qkv_proj.weight": 512**-0.5,
        "L_level.layers.3.mlp.gate_up_proj.weight": 512**-0.5,
        "L_level.layers.3.mlp.down_proj.weight": 1536**-0.5,
    }.items():
        assert values[name].std() == pytest.approx(std, rel=0.02), name
    assert values["H_init"].std() == pytest.approx(1, rel=0.1)
    assert not values["q_head.weight"].any()
    assert not values[PUZZLE_TABLE].any()
    assert values["q_head.bias"].tolist() == [-5, -5]


def test_constants_are_rounded_to_the_dtype_they_are_published_in() -> None:
    rounded, exact = (
        initial_values(SMALL, 0)["H_init"],
        initial_values(changed(SMALL, forward_dtype="float32"), 0)["H_init"],
    )
    np.testing.assert_array_equal(rounded, exact.astype(ml_dtypes.bfloat16).astype(np.float32))
    assert not np.array_equal(rounded, exact)


def test_seed_gives_the_same_values_for_ever() -> None:
    assert (
        checksum(initial_values(SMALL, 0))
        == "1e6ab1aa677aaea7757d4b515e6c6df91acc2d8848f5250fd5da7829241cc9fd"
    )
    assert checksum(initial_values(SMALL, 1)) != checksum(initial_values(SMALL, 0))


def test_no_two_tensors_share_their_draws() -> None:
    values = initial_values(PAPER, 0)
    starts = [
        tuple(np.sign(array.flat[:64]))
        for name, array in values.items()
        if array.std() and array.size >= 64
    ]
    assert len(set(starts)) == len(starts)


def test_fixed_halting_keeps_the_table_and_moves_no_q_head() -> None:
    fixed = changed(PAPER, halting="fixed")
    assert list(parameter_table(fixed)) == list(parameter_table(PAPER))
    roles = {name: parameter.role for name, parameter in parameter_table(fixed).items()}
    assert {name for name, role in roles.items() if role is Role.CONSTANT} == {
        "q_head.weight",
        "q_head.bias",
        "H_init",
        "L_init",
    }
    assert num_trainable(fixed) == num_trainable(PAPER)
    small = changed(SMALL, halting="fixed")
    for name, values in initial_values(SMALL, seed=3).items():
        np.testing.assert_array_equal(initial_values(small, seed=3)[name], values)
