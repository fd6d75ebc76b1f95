"""Two models on the same inputs: the same weights agree exactly, rounded ones within their limit, mistakes are noticed."""

from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest

from hrm_core.config import DataSizes, ModelConfig, load_config
from hrm_core.parameters import initial_values
from hrm_core.runs.checkpoint import Model
from hrm_parity.checks import backend_named
from hrm_parity.models import LIMITS, compare_models

ARCH = load_config("sudoku-4x4").model.model_copy(
    update={"puzzle_emb_ndim": 64, "pos_encodings": "rope"}
)
Weights = dict[str, Any]


def config_of(**changes: Any) -> ModelConfig:
    return ModelConfig.model_validate({**ARCH.sized(DataSizes(6, 16, 4)).model_dump(), **changes})


def model_of(config: ModelConfig, weights: Weights | None = None) -> Model:
    if weights is None:
        weights = dict(initial_values(config, 0))
        rng = np.random.default_rng(0)
        for name in ("q_head.weight", "puzzle_emb.weights"):
            weights[name] = 0.1 * rng.standard_normal(weights[name].shape, np.float32)
    return Model(config, "", weights, Path("somewhere"), "")


BEFORE = model_of(config_of())


def changed(**tensors: Any) -> Model:
    return model_of(BEFORE.config, {**BEFORE.weights, **tensors})


def test_the_same_weights_agree_exactly() -> None:
    comparison = compare_models(BEFORE, changed(), backend_named("mlx"))
    assert [row.quantity.split()[0] for row in comparison.rows] == ["logits", "q", "z_H", "z_L"]
    assert all(row.gap == 0 for row in comparison.rows)
    assert comparison.lines()[-1] == "the models agree in 4 quantities"


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_rounded_weights_agree_within_their_limit_and_not_within_another(dtype: str) -> None:
    rounded = {
        name: array.astype(getattr(ml_dtypes, dtype, np.float16)).astype(np.float32)
        for name, array in BEFORE.weights.items()
    }
    gaps = [
        row.gap
        for row in compare_models(BEFORE, changed(**rounded), backend_named("mlx"), dtype).rows
    ]
    assert 0 < max(gaps) < LIMITS[dtype]
    assert compare_models(BEFORE, changed(**rounded), backend_named("mlx")).differs


def swapped_levels() -> Weights:
    return {
        name: BEFORE.weights[
            name.replace("H_level", "*").replace("L_level", "H_level").replace("*", "L_level")
        ]
        for name in BEFORE.weights
    }


def permuted_heads() -> Weights:
    name = "L_level.layers.0.self_attn.qkv_proj.weight"
    return {name: np.roll(BEFORE.weights[name], BEFORE.config.head_dim, axis=0)}


def one_token_left_out() -> Weights:
    weight = BEFORE.weights["embed_tokens.embedding_weight"].copy()
    weight[3] = 0
    return {"embed_tokens.embedding_weight": weight}


@pytest.mark.parametrize("mistake", [swapped_levels, permuted_heads, one_token_left_out])
def test_mistakes_are_noticed_even_with_the_widest_limit(mistake: Any) -> None:
    assert compare_models(BEFORE, changed(**mistake()), backend_named("mlx"), "bfloat16").differs


def test_rounded_initial_states_are_forgiven_and_nothing_else() -> None:
    state = BEFORE.weights["H_init"] * np.float32(1.001)
    assert not compare_models(BEFORE, changed(H_init=state), backend_named("mlx")).differs
    weights = {**swapped_levels(), "H_init": state}
    assert compare_models(BEFORE, changed(**weights), backend_named("mlx")).differs


def test_common_part_of_two_vocabularies_is_compared() -> None:
    after = config_of(vocab_size=9)
    fresh = initial_values(after, 1)
    weights = dict(BEFORE.weights)
    for name in ("embed_tokens.embedding_weight", "lm_head.weight"):
        weights[name] = np.concatenate([BEFORE.weights[name], fresh[name][6:]])
    comparison = compare_models(BEFORE, model_of(after, weights), backend_named("mlx"))
    assert not comparison.differs
    assert comparison.left_out == ["tokens from 6 on, which only one of the models knows"]


def test_tokens_that_were_matched_by_text_are_compared() -> None:
    rows = np.array([-1, 5, 2, -1, 3, -1, 4])
    after = config_of(vocab_size=7)
    weights = {**initial_values(after, 1), **BEFORE.weights}
    for name in ("embed_tokens.embedding_weight", "lm_head.weight"):
        weights[name] = np.where(rows[:, None] < 0, 7, BEFORE.weights[name][rows])
    changed = model_of(after, weights)
    comparison = compare_models(BEFORE, changed, backend_named("mlx"), tokens=rows)
    assert not comparison.differs
    assert comparison.left_out == [
        "tokens that only one of the models knows by their text: 2 and 3"
    ]
    swapped = np.array([-1, 2, 5, -1, 3, -1, 4])
    assert compare_models(BEFORE, changed, backend_named("mlx"), tokens=swapped).differs
    nothing = compare_models(BEFORE, changed, backend_named("mlx"), tokens=np.full(7, -1))
    assert nothing.lines()[-2:] == [
        "not compared: anything: no token is in both models",
        "nothing was compared",
    ]


def test_another_sequence_length_runs_on_the_old_one() -> None:
    comparison = compare_models(
        BEFORE, model_of(config_of(seq_len=25), dict(BEFORE.weights)), backend_named("mlx")
    )
    assert not comparison.differs
    assert comparison.left_out == ["sequences of 25 tokens: both ran on 16, which RoPE allows"]


def test_puzzle_vectors_are_compared_where_both_have_them() -> None:
    rows = np.array([2, -1, 0])
    table = np.concatenate([BEFORE.weights["puzzle_emb.weights"], np.full((1, 64), 7, np.float32)])[
        rows
    ]
    after = model_of(
        config_of(num_puzzle_identifiers=3), {**BEFORE.weights, "puzzle_emb.weights": table}
    )
    comparison = compare_models(BEFORE, after, backend_named("mlx"), identifiers=rows)
    assert (comparison.differs, comparison.left_out) == (False, ["1 new puzzle identifiers"])
    assert compare_models(
        BEFORE, after, backend_named("mlx"), identifiers=np.array([0, -1, 2])
    ).differs, "rows in a wrong order"
    nothing = compare_models(
        BEFORE, after, backend_named("mlx"), identifiers=np.array([-1, -1, -1])
    )
    assert nothing.rows == []
    assert nothing.lines()[-1] == "nothing was compared"
