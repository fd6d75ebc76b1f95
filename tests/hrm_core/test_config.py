from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from hrm_core.config import (
    ArchConfig,
    DataSizes,
    RunConfig,
    beyond_published,
    load_config,
    parse_yaml,
    preset_names,
    validated,
)
from hrm_core.errors import ConfigError
from hrm_core.parameters import num_trainable, parameter_table
from hrm_core.plugins import preset_files

GOOD = """\
model: {puzzle_emb_ndim: 0, H_layers: 1, L_layers: 2, hidden_size: 64, num_heads: 2}
optim: {lr: 1e-4, puzzle_emb_lr: 1e-2}
train: {global_batch_size: 8, epochs: 20, eval_interval: 10}
"""


def load(tmp_path: Path, text: str, *overrides: str) -> RunConfig:
    path = tmp_path / "mine.yaml"
    path.write_text(text)
    return load_config(str(path), overrides)


def refusal(tmp_path: Path, text: str, *overrides: str) -> str:
    with pytest.raises(ConfigError) as refused:
        load(tmp_path, text, *overrides)
    message = str(refused.value)
    assert len(message.splitlines()) == 1
    assert len(message) < 1000
    return message


@pytest.mark.parametrize("name", preset_names())
def test_preset_loads_and_survives_its_own_yaml(name: str, tmp_path: Path) -> None:
    config = load_config(name)
    assert load(tmp_path, config.to_yaml()) == config


PUBLISHED = {
    "sudoku-extreme-1k": (
        768,
        20_000,
        2_000,
        1.0,
        1e-4,
        1.0,
        "rope",
        "stablemax_cross_entropy",
        2,
        16,
    ),
    "sudoku-extreme-1k-mac": (
        384,
        20_000,
        2_000,
        1.0,
        7e-5,
        1.0,
        "rope",
        "stablemax_cross_entropy",
        2,
        16,
    ),
    "sudoku-extreme-full": (
        2304,
        100,
        10,
        0.1,
        3e-4,
        0.1,
        "learned",
        "softmax_cross_entropy",
        8,
        8,
    ),
}


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_recipes_are_as_published(name: str) -> None:
    model, optim, train = load_config(name).model, load_config(name).optim, load_config(name).train
    found = (
        train.global_batch_size,
        train.epochs,
        train.eval_interval,
        optim.lr_min_ratio,
        optim.lr,
        optim.weight_decay,
    )
    assert (
        *found,
        model.pos_encodings,
        model.loss_type,
        model.L_cycles,
        model.halt_max_steps,
    ) == PUBLISHED[name]
    assert (optim.puzzle_emb_lr, optim.puzzle_emb_weight_decay) == (optim.lr, optim.weight_decay)
    assert (optim.beta1, optim.beta2, optim.lr_warmup_steps) == (0.9, 0.95, 2000)
    assert (model.hidden_size, model.num_heads, model.H_layers, model.L_layers, model.H_cycles) == (
        512,
        8,
        4,
        4,
        2,
    )
    assert (
        model.vocab_size,
        model.seq_len,
        model.num_puzzle_identifiers,
        model.puzzle_emb_ndim,
    ) == (11, 81, 1, 512)
    assert (model.expansion, model.halt_exploration_prob, model.forward_dtype) == (
        4.0,
        0.1,
        "bfloat16",
    )


LARGE = {
    "maze-30x30-hard": (6, 1, 20_000, 2_000, 1e-4, 1.0),
    **dict.fromkeys(["arc-1", "arc-2"], (12, None, 100_000, 10_000, 1e-2, 0.1)),
}


@pytest.mark.parametrize("name", LARGE)
def test_published_recipes_of_30x30_are_as_published(name: str) -> None:
    paper, config = load_config("sudoku-extreme-1k"), load_config(name)
    vocab_size, identifiers, epochs, interval, puzzle_emb_lr, decay = LARGE[name]
    sizes = {"vocab_size": vocab_size, "seq_len": 900, "num_puzzle_identifiers": identifiers}
    assert config.model == paper.model.model_copy(update=sizes)
    rates = {
        "puzzle_emb_lr": puzzle_emb_lr,
        "weight_decay": decay,
        "puzzle_emb_weight_decay": decay,
    }
    assert config.optim == paper.optim.model_copy(update=rates)
    assert config.train == paper.train.model_copy(
        update={"epochs": epochs, "eval_interval": interval}
    )


def test_trm_is_the_paper_with_the_choices_of_trm() -> None:
    """Source: arXiv 2510.04871 and its published settings for Sudoku-Extreme with attention."""
    paper, trm = load_config("sudoku-extreme-1k"), load_config("sudoku-trm")
    choices = {"q_continue": False, "gradient": "cycle", "share_levels": True}
    shape = {"H_cycles": 3, "L_cycles": 6, "H_layers": 2, "L_layers": 2}
    assert trm.model == paper.model.model_copy(update={**choices, **shape})
    assert trm.optim == paper.optim
    length = {"epochs": 50_000, "eval_interval": 5_000, "ema": 0.999}
    assert trm.train == paper.train.model_copy(update=length)
    sizes = trm.model.sized(DataSizes(11, 81, 1))
    assert num_trainable(sizes) == 6_828_034
    assert not any(name.startswith("H_level") for name in parameter_table(sizes))


MAC = {  # lr, puzzle_emb_lr, global_batch_size, micro_batch_size; all else is as published
    "sudoku-extreme-1k": (7e-5, 7e-5, 384, 96),
    "sudoku-extreme-full": (1.1e-4, 1.1e-4, 288, 96),
    "maze-30x30-hard": (3.5e-5, 3.5e-5, 96, 8),
    "arc-1": (3.5e-5, 1e-2, 96, 8),
    "arc-2": (3.5e-5, 1e-2, 96, 8),
}


@pytest.mark.parametrize("name", MAC)
def test_variant_for_one_machine_has_another_batch_and_rate(name: str) -> None:
    """And micro-batches; nothing else."""
    paper, mac = load_config(name), load_config(f"{name}-mac")
    lr, puzzle_emb_lr, batch, micro_batch = MAC[name]
    rates = {"lr": lr, "puzzle_emb_lr": puzzle_emb_lr}
    batches = {"global_batch_size": batch, "micro_batch_size": micro_batch}
    assert mac.model == paper.model
    assert mac.optim == paper.optim.model_copy(update=rates)
    assert mac.train == paper.train.model_copy(update=batches)
    share = batch / paper.train.global_batch_size
    assert lr == pytest.approx(share**0.5 * paper.optim.lr, rel=0.05)
    assert paper.train.micro_batch_size is None
    assert batch % mac.train.slots_at_once == 0
    assert mac.train.slots_at_once < batch


def test_each_published_recipe_has_a_variant_for_one_machine() -> None:
    variants = {name for name in preset_names() if name.endswith("-mac")}
    assert variants == {f"{name.removesuffix('-mac')}-mac" for name in (*PUBLISHED, *LARGE)}
    assert variants == {f"{name}-mac" for name in MAC}


def test_file_extends_a_preset_by_what_differs(tmp_path: Path) -> None:
    paper = load_config("sudoku-extreme-1k")
    text = "extends: sudoku-extreme-1k-mac\noptim: {lr: 2e-4}\ninit: {path: a, crc32: b}\n"
    found = load(tmp_path, text, "train.micro_batch_size=null")
    assert found.model == paper.model
    assert found.optim == paper.optim.model_copy(update={"lr": 2e-4, "puzzle_emb_lr": 7e-5})
    assert found.train == paper.train.model_copy(update={"global_batch_size": 384})
    assert found.init is not None
    assert "extends" not in found.to_yaml()  # a run records all settings
    assert load(tmp_path, found.to_yaml()) == found
    assert load(tmp_path, "extends: sudoku-extreme-1k") == paper


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("extends: nope", "mine.yaml: extends: there is no preset nope; presets: arc-1, arc-1-mac"),
        ("extends: 3", "mine.yaml: extends: found 3 (a whole number), expected a preset's name"),
        ("extends:", "mine.yaml: extends: found nothing, expected a preset's name"),
        ("extends: [arc-1]", "mine.yaml: extends: found ['arc-1'] (a list)"),
        ("extends: arc-1\nextends: arc-2", "line 2: duplicate key extends; keep one of them"),
        ("extends: arc-1\noptim: {rate: 1}", "mine.yaml: unknown key optim.rate (known: lr,"),
        ("extends: arc-1\noptimiser: {}", "mine.yaml: unknown key optimiser (known: model, optim"),
        ("extends: arc-1\noptim: {lr: fast}", "mine.yaml: optim.lr: found 'fast' (a text)"),
        ("extends: arc-1\noptim: 3", "mine.yaml: optim: found 3 (a whole number), expected a sec"),
        ("extends: a", "preset c: extends: a > b > c > a is a circle; take one of them out"),
        ("extends: self", "preset self: extends: self > self is a circle; take one of them out"),
        ("extends: typo", "preset typo: unknown key optim.rate (known: lr,"),
        ("extends: above", "preset typo: unknown key optim.rate (known: lr,"),
    ],
)
def test_bad_extension_is_refused_with_the_file_it_stands_in(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, message: str
) -> None:
    presets = {
        "a": "extends: b",
        "b": "extends: c",
        "c": "extends: a",
        "self": "extends: self",
        "typo": GOOD.replace("{lr:", "{rate:"),
        "above": "extends: typo\noptim: {lr: 1e-3}",
    }
    files = dict(preset_files())
    for name, content in presets.items():
        files[name] = tmp_path / f"{name}.yaml"
        files[name].write_text(content)
    monkeypatch.setattr("hrm_core.config.preset_files", lambda: files)
    assert message in refusal(tmp_path, text)


def test_slots_at_once_are_those_of_a_micro_batch(tmp_path: Path) -> None:
    found = [
        load(tmp_path, GOOD, f"train.micro_batch_size={size}").train.slots_at_once
        for size in ("null", 3, 8, 100)
    ]
    assert found == [8, 3, 8, 8]


def test_numbers_are_read_as_json_reads_them(tmp_path: Path) -> None:
    config = load(tmp_path, GOOD)
    assert (config.optim.lr, config.optim.puzzle_emb_lr) == (1e-4, 1e-2)
    assert parse_yaml("{a: no, b: 1e3, c: 2024-01-01, d: 010, e: true, f: ~, g: -3, h: .5}", "x") == {
        "a": "no", "b": 1000.0, "c": "2024-01-01", "d": 10, "e": True, "f": None, "g": -3, "h": 0.5,
    }  # fmt: skip


def test_overrides_are_applied_in_order(tmp_path: Path) -> None:
    config = load(
        tmp_path,
        GOOD,
        "optim.lr=2e-4",
        "train.seed=7",
        "optim.lr=3e-4",
        "model.pos_encodings=learned",
    )
    assert (config.optim.lr, config.train.seed, config.model.pos_encodings) == (3e-4, 7, "learned")


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("lr=1", "--set lr=1: expected section.key=value"),
        ("optim.lr", "--set optim.lr: expected section.key=value"),
        ("optim..lr=1", "expected section.key=value"),
        ("optim.lr.x=1", "lr is not a section"),
        ("optim.lr=fast", "optim.lr: found 'fast' (a text), expected a valid number"),
        ("optim.lr=", "optim.lr: found nothing, expected a valid number"),
        ("optim.lr=nan", "optim.lr: found 'nan' (a text)"),
        ("optim.lr=-1", "optim.lr: found -1 (a whole number), expected greater than 0"),
        ("optim.lr=1e999", "optim.lr: found inf (a number), expected a finite number"),
        ("optim.lr=[1", "--set optim.lr=[1, line 1: expected ',' or ']'"),
        ("optim.rate=1", "unknown key optim.rate (known: lr, lr_min_ratio"),
        ("optimizer.lr=1", "unknown key optimizer (known: model, optim, train"),
        ("train.epochs=20.0", "train.epochs: found 20.0 (a number), expected a valid integer"),
        ("train.epochs=true", "train.epochs: found True (a truth value)"),
        ("train.epochs=25", "train: epochs=25 is no multiple of eval_interval=10"),
        (
            "train.seed=4294967296",
            "train.seed: found 4294967296 (a whole number), expected less than or equal to 4294967295",
        ),
        (
            "model.hidden_size=510",
            "model: hidden_size=510 over num_heads=2 gives heads of odd size 255; RoPE rotates pairs",
        ),
        (
            "model.num_heads=7",
            "model: hidden_size=64 cannot be split over num_heads=7; use a multiple of 7",
        ),
        (
            "model.pos_encodings=none",
            "model.pos_encodings: found 'none' (a text), expected 'rope' or 'learned'",
        ),
        (
            "model.hidden_size=999999999999999999999",
            "model.hidden_size: found 1e+21 (a number), expected a valid integer",
        ),
        (f"optim.lr={'x' * 5000}", "optim.lr: found 'xxx"),
    ],
)
def test_bad_override_is_refused_with_its_path(tmp_path: Path, override: str, message: str) -> None:
    assert message in refusal(tmp_path, GOOD, override)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "mine.yaml holds nothing, expected the sections model, optim and train"),
        ("- 1", "mine.yaml holds a list"),
        (GOOD + "optim: {lr: 1}", "mine.yaml, line 4: duplicate key optim; keep one of them"),
        (
            GOOD.replace("lr: 1e-4", "lr: 1e-4, lr: 1e-3"),
            "line 2: duplicate key optim.lr; keep one of them",
        ),
        (
            GOOD.replace("optim:", "optimiser:"),
            "mine.yaml: unknown key optimiser (known: model, optim, train, data, init, environment)",
        ),
        (GOOD.replace("num_heads", "heads"), "unknown key model.heads (known: vocab_size,"),
        (GOOD.replace(", num_heads: 2", ""), "model.num_heads is missing"),
        (GOOD + "data: {pfad: x}", "unknown key data.pfad (known: path, sha256, task)"),
        ("model: 3", "model: found 3 (a whole number), expected a section"),
        ("1: 2", "line 1: found 1 (a whole number) as a key, expected a name"),
        ("\tmodel: 3", "line 1: found character '\\t' that cannot start any token"),
        ("a: \x00", "mine.yaml is not YAML: unacceptable character #x0000"),
        (
            "a: !!python/object/apply:os.system [ls]",
            "line 1: tag tag:yaml.org,2002:python/object/apply:os.system is not for configs",
        ),
        ("a: !!timestamp abc", "line 1: tag tag:yaml.org,2002:timestamp is not for configs"),
        ("a: !!int x", "mine.yaml is not YAML: invalid literal for int()"),
        ("a: &a [*a]", "line 1: found unconstructable recursive node"),
        ("[" * 5000, "mine.yaml is nested too deeply for a config"),
        ("a: 1\n---\nb: 2", "line 2: but found another document"),
        ("'" + "k" * 900 + "': 1", "unknown key kkk"),
        ("{" + ", ".join(f"k{i}: 1" for i in range(1000)) + "}", "and 998 more"),
    ],
)
def test_bad_file_is_refused_in_one_line(tmp_path: Path, text: str, message: str) -> None:
    assert message in refusal(tmp_path, text)


def test_aliases_that_explode_cost_nothing(tmp_path: Path) -> None:
    lists = ["&a0 [x, x, x, x, x, x, x, x]"] + [
        f"&a{i} [{', '.join([f'*a{i - 1}'] * 8)}]" for i in range(1, 30)
    ]
    assert "model: found [[" in refusal(
        tmp_path, f"optim: [{', '.join(lists)}]\nmodel: *a29\ntrain: *a29"
    )


def test_file_that_is_not_there_is_told_from_a_preset(tmp_path: Path) -> None:
    with pytest.raises(
        ConfigError, match=r"is neither a file nor a preset; presets: .*sudoku-4x4, "
    ):
        load_config(str(tmp_path / "nope"))
    with pytest.raises(ConfigError, match="cannot be read as a config: it is a folder"):
        load_config(str(tmp_path))
    (tmp_path / "latin.yaml").write_bytes(b"a: \xfc")
    with pytest.raises(ConfigError, match="cannot be read as a config"):
        load_config(str(tmp_path / "latin.yaml"))


def test_stated_sizes_must_be_those_of_the_data() -> None:
    arch = load_config("sudoku-extreme-1k").model
    assert arch.sized(DataSizes(11, 81, 1)).total_len == 82
    with pytest.raises(ConfigError, match=r"model\.seq_len=81 but the data has seq_len=16"):
        arch.sized(DataSizes(11, 16, 1))


@pytest.mark.parametrize(
    ("changes", "intermediate", "slots"),
    [
        ({}, 256, 0),
        ({"hidden_size": 512, "num_heads": 8, "puzzle_emb_ndim": 513}, 1536, 2),
        ({"expansion": 0.5}, 256, 0),
    ],
)
def test_derived_sizes(changes: dict[str, Any], intermediate: int, slots: int) -> None:
    base = {"puzzle_emb_ndim": 0, "H_layers": 1, "L_layers": 1, "hidden_size": 64, "num_heads": 2}
    arch = validated(ArchConfig, {**base, **changes}, "test")
    assert (arch.intermediate_size, arch.puzzle_emb_len) == (intermediate, slots)


yaml_text = st.text(
    alphabet="ab:{}[],&*!<|>-'\"# \n\t\r\x00%@`1.e~?\\ü\ud800\u2028", max_size=60
) | st.text(max_size=60)


def assert_accepted_or_refused(read: Callable[[], RunConfig]) -> None:
    message = "accepted"
    try:
        read()
    except ConfigError as error:
        message = str(error)
    assert len(message.splitlines()) == 1, repr(message)


@settings(deadline=None, derandomize=True, max_examples=300)
@given(text=yaml_text, at=st.integers(0, len(GOOD)))
@example(text="!!set {a}", at=0)
@example(text="<<: *x", at=0)
def test_any_text_is_a_config_or_refused_in_one_line(text: str, at: int) -> None:
    for candidate in (text, GOOD[:at] + text + GOOD[at:]):
        assert_accepted_or_refused(
            lambda text=candidate: validated(RunConfig, parse_yaml(text, "fuzz"), "fuzz")
        )


@settings(deadline=None, derandomize=True, max_examples=200)
@given(override=st.text(max_size=40) | st.builds("optim.lr={}".format, yaml_text))
def test_any_override_is_applied_or_refused(override: str) -> None:
    assert_accepted_or_refused(lambda: load_config("sudoku-4x4", [override]))


BEYOND = {"halting": "fixed", "loss_average": "token", "num_chunks": 4, "steps_per_chunk": 2}


@pytest.mark.parametrize("name", BEYOND)
def test_field_beyond_the_published_network_is_written_where_it_differs(
    name: str, tmp_path: Path
) -> None:
    default = ArchConfig.model_fields[name].default
    plain, given = load(tmp_path, GOOD), "null" if default is None else default
    stated = load(tmp_path, GOOD, f"model.{name}={given}")
    changed = load(tmp_path, GOOD, f"model.{name}={BEYOND[name]}")
    assert plain.to_yaml() == stated.to_yaml()
    assert name not in plain.to_yaml()
    assert f"{name}: {BEYOND[name]}" in changed.to_yaml()
    assert load(tmp_path, changed.to_yaml()) == changed
    assert beyond_published(plain.model) == {}
    assert beyond_published(changed.model) == {name: BEYOND[name]}


def test_other_values_of_these_fields_are_refused(tmp_path: Path) -> None:
    assert "model.halting: found 'never' (a text)" in refusal(tmp_path, GOOD, "model.halting=never")
    assert "model.loss_average: found 1 (a whole number)" in refusal(
        tmp_path, GOOD, "model.loss_average=1"
    )


def test_causal_attention_needs_fixed_halting(tmp_path: Path) -> None:
    for attention in ("causal", "prefix"):
        chosen = f"model.attention={attention}"
        assert f"model: attention={attention} needs halting=fixed" in refusal(
            tmp_path, GOOD, chosen
        )
        assert load(tmp_path, GOOD, chosen, "model.halting=fixed").model.attention == attention


def test_steps_that_do_not_reach_the_last_chunk_are_refused(tmp_path: Path) -> None:
    message = refusal(tmp_path, GOOD, "model.num_chunks=5", "model.steps_per_chunk=4")
    assert message.endswith(
        "model: halt_max_steps=16 does not reach the end of the last chunk: "
        "num_chunks=5 of steps_per_chunk=4 take 20; set halt_max_steps to 20 or more"
    )
