import pytest
from hrm_convert.names import DERIVED, by_canonical_name, canonical_name, published_name
from hrm_convert.tensors import ConversionError

NAMES = [
    "H_init",
    "q_head.bias",
    "L_level.layers.0.self_attn.qkv_proj.weight",
    "embed_tokens.embedding_weight",
]
MIXES = [
    "",
    "_orig_mod.",
    "model.",
    "inner.",
    "module.",
    "module.model.inner.",
    "_orig_mod.module.inner.",
    "model.inner.",
    "_orig_mod.model.inner.",
    "model._orig_mod.inner.",
    "_orig_mod._orig_mod.inner.model.",
]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("prefix", MIXES)
def test_any_mix_of_prefixes_is_taken_off(prefix: str, name: str) -> None:
    assert canonical_name(prefix + name) == name


@pytest.mark.parametrize("name", NAMES)
def test_published_name_leads_back(name: str) -> None:
    assert canonical_name(published_name(name)) == name


@pytest.mark.parametrize("name", ["modules.H_init", "H_init.model.", "H_level.inner.weight"])
def test_other_names_stay(name: str) -> None:
    assert canonical_name(name) == name


def test_one_tensor_under_two_names_is_refused_naming_both() -> None:
    with pytest.raises(
        ConversionError, match=r"twice: H_init as model\.H_init and inner\.H_init; remove one"
    ):
        by_canonical_name(["model.H_init", "inner.H_init", "L_init"], "somewhere")


def test_what_follows_from_the_config_is_known() -> None:
    for name in (
        "rotary_emb.cos_cached",
        "rotary_emb.sin_cached",
        "puzzle_emb.local_weights",
        "puzzle_emb.local_ids",
    ):
        assert DERIVED.fullmatch(name)
    assert not any(DERIVED.fullmatch(name) for name in (*NAMES, "puzzle_emb.weights"))
