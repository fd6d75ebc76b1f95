"""From every form into every other, there and back, with and without another shape."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest
import yaml
from hrm_convert.conversion import Request, convert
from hrm_convert.conversion_report import Report
from hrm_convert.sources import open_source, read_model
from hrm_convert.tensors import ConversionError
from safetensors.numpy import load_file, save_file

from hrm_core.config import DataConfig, RunConfig, load_config
from hrm_core.data.writer import Examples, Layout, write_dataset
from hrm_core.errors import CheckpointError, ConfigError, DataError, HRMError
from hrm_core.parameters import Role, initial_values, parameter_table
from hrm_core.runs.checkpoint import find_model, load_model, save_model, write_checkpoint

PREFIX = "_orig_mod.model.inner."


def done(source: Path | str, dest: Path, **wishes: Any) -> Report:
    return convert(str(source), dest, Request(**wishes)).report


def weights_in(path: Path) -> dict[str, Any]:
    return dict(load_model(find_model(path)).weights)


@pytest.fixture
def published(tmp_path: Path, publish: Any, config_of: Any, weights_of: Any) -> Path:
    config = config_of()
    return Path(publish(tmp_path / "published", config, weights_of(config)))


@pytest.mark.parametrize("prefix", [PREFIX, "model.inner.", "inner.", "", "model._orig_mod.inner."])
def test_published_checkpoint_becomes_ours(
    tmp_path: Path, publish: Any, config_of: Any, weights_of: Any, assert_same: Any, prefix: str
) -> None:
    config = config_of()
    weights = weights_of(config)
    report = done(publish(tmp_path / "p", config, weights, prefix), tmp_path / "dest")
    model = load_model(find_model(tmp_path / "dest"))
    assert (model.config, model.task) == (config, "sudoku")
    assert_same(model.weights, weights)
    assert {row.name: row.stored for row in report.rows} == {
        name: prefix + name for name in parameter_table(config)
    }
    assert report.counts == {
        **({"renamed": len(weights)} if prefix else {"kept": len(weights) - 2}),
        "cast": 2,
    }
    assert any("seq_len 81 was inferred from vocab_size 11" in note for note in report.notes)
    assert (
        "weights only: it can be evaluated, solved with and trained from (--init), but not resumed"
        in report.notes
    )


@pytest.mark.parametrize(
    "changes",
    [
        {"puzzle_emb_ndim": 0, "num_puzzle_identifiers": 1},
        {"pos_encodings": "learned", "seq_len": 20, "vocab_size": 5},
        {"forward_dtype": "float32"},
        {"vocab_size": 6, "seq_len": 900},
        {"vocab_size": 12, "seq_len": 900, "puzzle_emb_ndim": 12},
    ],
)
def test_every_kind_of_network_is_read(
    tmp_path: Path, publish: Any, config_of: Any, weights_of: Any, assert_same: Any, changes: Any
) -> None:
    config = config_of(**changes)
    weights = weights_of(config)
    report = done(publish(tmp_path / "p", config, weights), tmp_path / "x.safetensors")
    assert load_model(tmp_path / "x.safetensors").config == config
    assert_same(weights_in(tmp_path / "x.safetensors"), weights)
    assert (
        report.task
        == {(11, 81): "sudoku", (6, 900): "maze", (12, 900): "arc", (5, 20): ""}[
            config.vocab_size, config.seq_len
        ]
    )


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"vocab_size": 6, "seq_len": 16},
        {"pos_encodings": "learned"},
        {"forward_dtype": "float32"},
    ],
)
def test_there_and_back_is_identical(
    tmp_path: Path, config_of: Any, weights_of: Any, assert_same: Any, changes: Any
) -> None:
    pytest.importorskip("torch", reason="torch is missing: published checkpoints are not tested")
    config = config_of(**changes)
    save_model(tmp_path / "start.safetensors", config, "sudoku", weights_of(config))
    done(tmp_path / "start.safetensors", tmp_path / "checkpoint", to="checkpoint")
    done(tmp_path / "checkpoint", tmp_path / "official", to="official")
    done(tmp_path / "official", tmp_path / "back", to="checkpoint")
    done(tmp_path / "back", tmp_path / "end.safetensors")
    assert (tmp_path / "end.safetensors").read_bytes() == (
        tmp_path / "start.safetensors"
    ).read_bytes()
    assert (tmp_path / "back" / "model.safetensors").read_bytes() == (
        tmp_path / "start.safetensors"
    ).read_bytes()


def test_one_changed_weight_is_seen_by_the_comparison(
    tmp_path: Path, config_of: Any, weights_of: Any
) -> None:
    config = config_of()
    weights = weights_of(config)
    save_model(tmp_path / "start.safetensors", config, "sudoku", weights)
    weights["lm_head.weight"][3, 2] = np.nextafter(weights["lm_head.weight"][3, 2], np.float32(9))
    save_model(tmp_path / "other.safetensors", config, "sudoku", weights)
    assert (tmp_path / "start.safetensors").read_bytes() != (
        tmp_path / "other.safetensors"
    ).read_bytes()


def test_bfloat16_survives_bit_for_bit(tmp_path: Path, config_of: Any, bits16: Any) -> None:
    config = config_of()
    stored = {
        name: bits16(entry.shape, seed)
        for seed, (name, entry) in enumerate(parameter_table(config).items())
    }
    about = {"format": "hrm-1", "task": "sudoku", "config": config.model_dump()}
    save_file(stored, tmp_path / "a.safetensors", metadata={"hrm": json.dumps(about)})
    report = done(tmp_path / "a.safetensors", tmp_path / "b.safetensors", dtype="bfloat16")
    assert report.counts == {"kept": len(stored)}
    done(tmp_path / "b.safetensors", tmp_path / "c", to="checkpoint")
    done(tmp_path / "c", tmp_path / "d.safetensors", dtype="bfloat16")
    for path in ("b.safetensors", "d.safetensors"):
        assert {n: a.tobytes() for n, a in load_file(tmp_path / path).items()} == {
            n: a.tobytes() for n, a in stored.items()
        }


def test_bfloat16_survives_the_published_form(tmp_path: Path, config_of: Any, bits16: Any) -> None:
    pytest.importorskip("torch", reason="torch is missing: published checkpoints are not tested")
    config = config_of()
    stored = {
        name: bits16(entry.shape, seed)
        for seed, (name, entry) in enumerate(parameter_table(config).items())
    }
    save_model(
        tmp_path / "a.safetensors",
        config,
        "sudoku",
        {n: a.astype(np.float32) for n, a in stored.items()},
    )
    done(tmp_path / "a.safetensors", tmp_path / "b", to="official")
    done(tmp_path / "b", tmp_path / "c.safetensors", dtype="bfloat16")
    assert {n: a.tobytes() for n, a in load_file(tmp_path / "c.safetensors").items()} == {
        n: a.tobytes() for n, a in stored.items()
    }


def test_all_tensors_that_do_not_fit_are_listed_at_once(
    tmp_path: Path, publish: Any, config_of: Any, weights_of: Any
) -> None:
    config = config_of()
    weights = weights_of(config)
    for name in ("q_head.bias", "L_init"):
        del weights[name]
    weights |= {
        "lm_head.weight": np.zeros((11, 9), np.float32),
        "H_level.layers.1.mlp.down_proj.weight": np.zeros(2, np.float32),
    }
    weights["q_head.weight"] = np.zeros((2, 8), np.int32)
    with pytest.raises(ConversionError) as refused:
        done(publish(tmp_path / "p", config, weights), tmp_path / "dest")
    for words in (
        "missing: L_init, q_head.bias",
        f"unexpected: {PREFIX}H_level.layers.1.mlp.down_proj.weight",
        f"of another kind: {PREFIX}q_head.weight is int32[2, 8], expected float32, bfloat16 or float16",
        f"of another shape: {PREFIX}lm_head.weight is [11, 9], expected [11, 8]",
    ):
        assert words in str(refused.value)
    assert not (tmp_path / "dest").exists()


def test_tables_that_follow_from_the_config_are_left_out_and_told(
    tmp_path: Path, publish: Any, config_of: Any, weights_of: Any, assert_same: Any
) -> None:
    config = config_of()
    weights = weights_of(config)
    more = {
        "rotary_emb.cos_cached": np.zeros((82, 4), np.float32),
        "puzzle_emb.local_ids": np.zeros(4, np.int32),
    }
    report = done(publish(tmp_path / "p", config, {**weights, **more}), tmp_path / "x.safetensors")
    assert_same(weights_in(tmp_path / "x.safetensors"), weights)
    left_out = {row.name: row.text for row in report.rows if not row.written}
    assert left_out == {
        PREFIX + name: "derived: left out, it follows from the config" for name in more
    }


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_weights_that_are_not_finite_are_named(
    tmp_path: Path, publish: Any, config_of: Any, weights_of: Any, value: float
) -> None:
    config = config_of()
    weights = weights_of(config)
    weights["H_level.layers.0.mlp.down_proj.weight"][3, 17] = value
    for source in (publish(tmp_path / "p", config, weights), tmp_path / "x.safetensors"):
        save_model(tmp_path / "x.safetensors", config, "", weights)
        with pytest.raises(
            ConversionError,
            match=rf"H_level\.layers\.0\.mlp\.down_proj\.weight holds {value} at \[3, 17\]",
        ):
            done(source, tmp_path / "dest", to="checkpoint")
    assert not (tmp_path / "dest").exists()


def test_training_folder_with_several_steps_gives_the_last(
    tmp_path: Path, publish: Any, config_of: Any, weights_of: Any, assert_same: Any
) -> None:
    config = config_of()
    for step in (900, 10000, 2000):
        publish(tmp_path / "p", config, weights_of(config, step), name=f"step_{step}")
    report = done(tmp_path / "p", tmp_path / "x.safetensors")
    assert_same(weights_in(tmp_path / "x.safetensors"), weights_of(config, 10000))
    assert any(
        "holds 3 checkpoints; the last one, step_10000, was taken" in note for note in report.notes
    )
    done(tmp_path / "p" / "step_900", tmp_path / "y.safetensors")
    assert_same(weights_in(tmp_path / "y.safetensors"), weights_of(config, 900))


def test_published_weights_in_a_safetensors_file_are_read(
    tmp_path: Path, published: Path, config_of: Any, weights_of: Any, assert_same: Any
) -> None:
    weights = weights_of(config_of())
    (published / "checkpoint").unlink()
    save_file(
        {f"model.inner.{name}": array for name, array in weights.items()},
        published / "model.safetensors",
    )
    for source in (published, published / "model.safetensors"):
        done(source, tmp_path / "x.safetensors", force=True)
        assert_same(weights_in(tmp_path / "x.safetensors"), weights)


def test_sequence_length_that_nobody_knows_is_asked_for(
    tmp_path: Path, publish: Any, config_of: Any, weights_of: Any
) -> None:
    config = config_of(vocab_size=17)
    source = publish(tmp_path / "p", config, weights_of(config))
    with pytest.raises(
        ConversionError,
        match=r"vocab_size 17, that of no published task.*give it with --seq-len N or --data DIR",
    ):
        done(source, tmp_path / "x.safetensors")
    assert done(source, tmp_path / "x.safetensors", seq_len=50).config["seq_len"] == 50


def test_another_sequence_length_is_free_with_rope(
    tmp_path: Path, model_file: Path, assert_same: Any
) -> None:
    report = done(model_file, tmp_path / "x.safetensors", seq_len=100)
    assert report.changes == {"seq_len": (81, 100)}
    assert report.counts == {"kept": len(report.rows)}
    assert_same(weights_in(tmp_path / "x.safetensors"), weights_in(model_file))
    assert load_model(tmp_path / "x.safetensors").config.seq_len == 100


def test_another_vocabulary_changes_two_tensors(tmp_path: Path, model_file: Path) -> None:
    report = done(model_file, tmp_path / "x.safetensors", vocab_size=256, seed=7)
    assert {row.name for row in report.rows if "resized" in row.text} == {
        "embed_tokens.embedding_weight",
        "lm_head.weight",
    }
    before, after = load_model(model_file), load_model(tmp_path / "x.safetensors")
    fresh = initial_values(after.config, 7)
    for name in before.weights:
        rows = len(before.weights[name])
        np.testing.assert_array_equal(after.weights[name][:rows], before.weights[name])
        np.testing.assert_array_equal(after.weights[name][rows:], fresh[name][rows:])
    assert (after.task, before.task) == ("", "sudoku")


def test_identifiers_are_matched_by_name(
    tmp_path: Path, model_file: Path, names_file: Callable[..., Path]
) -> None:
    wishes = {
        "source_identifiers": names_file("old.json", "a", "b"),
        "identifiers": names_file("new.json", "b", "c", "d"),
        "mean_of": ("a", "b"),
    }
    report = done(model_file, tmp_path / "x.safetensors", **wishes)
    before, after = (
        weights_in(path)["puzzle_emb.weights"] for path in (model_file, tmp_path / "x.safetensors")
    )
    np.testing.assert_array_equal(after[:2], before[[0, 2]])
    np.testing.assert_array_equal(
        after[2:], np.tile(before[1:].astype(np.float64).mean(axis=0).astype(np.float32), (2, 1))
    )
    (row,) = (row for row in report.rows if row.name == "puzzle_emb.weights")
    assert (row.shape, row.kinds) == ([4, 8], ["resized", "derived"])


@pytest.mark.parametrize(
    ("wishes", "message"),
    [
        (
            {"identifiers": "new.json"},
            r"the 3 puzzle vectors of .* have no names; .*--source-identifiers FILE",
        ),
        (
            {"identifiers": "new.json", "source_identifiers": "new.json"},
            r"new.json has 2 names, .* 3 puzzle vectors",
        ),
        ({"mean_of": ("a",)}, "--mean-of makes vectors for new puzzle identifiers"),
        ({"identifiers": "nope.json"}, "nope.json cannot be read"),
        (
            {"to": "official", "dtype": "bfloat16"},
            "--dtype bfloat16 goes with safetensors and checkpoint",
        ),
    ],
)
def test_requests_that_do_not_fit_are_refused(
    tmp_path: Path, model_file: Path, names_file: Callable[..., Path], wishes: Any, message: str
) -> None:
    names_file("new.json", "a")
    paths = {
        name: tmp_path / value if "identifiers" in name else value for name, value in wishes.items()
    }
    with pytest.raises(HRMError, match=message):
        done(model_file, tmp_path / "dest", **{"to": "checkpoint", **paths})
    assert not (tmp_path / "dest").exists()


@pytest.mark.parametrize("content", ["", "{}", "[]", "[1]", '"a"', "[" * 100_000])
def test_identifiers_that_are_no_names_are_refused(
    tmp_path: Path, model_file: Path, content: str
) -> None:
    (tmp_path / "names.json").write_text(content)
    with pytest.raises(DataError, match=r"names\.json is no"):
        done(model_file, tmp_path / "x.safetensors", identifiers=tmp_path / "names.json")


def data_set(folder: Path, vocab_size: int, seq_len: int, *names: str) -> Path:
    tokens = np.ones((2, seq_len), np.uint8)
    layout = Layout(vocab_size, seq_len, identifiers=("<blank>", *names))
    write_dataset(
        folder, layout, {"train": {"all": [Examples(tokens, tokens)]}}, {"task": "reversed"}
    )
    return folder


def test_data_set_gives_sizes_and_identifiers(
    tmp_path: Path, model_file: Path, names_file: Callable[..., Path]
) -> None:
    data = data_set(tmp_path / "data", 20, 30, "b", "new")
    report = done(
        model_file,
        tmp_path / "x.safetensors",
        data=data,
        source_identifiers=names_file("old.json", "a", "b"),
    )
    assert report.changes == {"vocab_size": (11, 20), "seq_len": (81, 30)}
    assert report.task == "reversed"
    before, after = (
        weights_in(path)["puzzle_emb.weights"] for path in (model_file, tmp_path / "x.safetensors")
    )
    np.testing.assert_array_equal(after, [before[0], before[2], np.zeros(8)])
    with pytest.raises(ConversionError, match="has vocab_size 20, not 21; leave one of them out"):
        done(model_file, tmp_path / "y.safetensors", data=data, vocab_size=21)


def a_run(folder: Path, data: Path, config_of: Any, weights_of: Any) -> Path:
    """A run directory with a checkpoint, as `hrm train` leaves it."""
    config = config_of()
    preset = load_config("sudoku-extreme-1k")
    written = DataConfig(path=str(data), sha256="0" * 64, task="sudoku")
    run = RunConfig(
        model=preset.model,
        optim=preset.optim.model_copy(update={"lr": 3e-4}),
        train=preset.train,
        data=written,
    )
    folder.mkdir()
    (folder / "config.yaml").write_text(run.to_yaml())
    write_checkpoint(
        folder / "checkpoints" / "update_00000007",
        config,
        "sudoku",
        weights_of(config),
        {"m": np.zeros(1)},
        {"update": 7},
    )
    return folder


def test_run_travels_with_its_training_settings_and_identifiers(
    tmp_path: Path, config_of: Any, weights_of: Any, names_file: Any
) -> None:
    pytest.importorskip("torch", reason="torch is missing: published checkpoints are not tested")
    data = data_set(tmp_path / "data", 11, 81, "a", "b")
    run = a_run(tmp_path / "run", data, config_of, weights_of)
    report = done(run, tmp_path / "p", to="official", identifiers=names_file("new.json", "b"))
    settings = yaml.safe_load((tmp_path / "p" / "all_config.yaml").read_text())
    assert (settings["lr"], settings["data_path"]) == (3e-4, str(data))
    assert "optimizer state and carry do not travel" in report.notes[-1]
    assert report.config["num_puzzle_identifiers"] == 2
    (tmp_path / "run" / "checkpoints" / "update_00000008").mkdir()
    assert any(
        "skipped a damaged checkpoint" in note
        for note in done(run, tmp_path / "x.safetensors").notes
    )


def test_run_knows_its_identifiers_when_puzzles_were_added_to_its_data(
    tmp_path: Path, config_of: Any, weights_of: Any, names_file: Any
) -> None:
    run = a_run(
        tmp_path / "run", data_set(tmp_path / "data", 11, 81, "a", "b", "c"), config_of, weights_of
    )
    wishes = {"identifiers": names_file("new.json", "b")}
    with pytest.raises(
        ConversionError, match=r"identifiers\.json has 4 names, .* 3 puzzle vectors"
    ):
        done(run, tmp_path / "x.safetensors", **wishes)
    (run / "identifiers.json").write_text(json.dumps(["<blank>", "a", "b"]))
    assert done(run, tmp_path / "x.safetensors", **wishes).config["num_puzzle_identifiers"] == 2


def test_initial_states_with_more_bits_than_published_are_rounded_and_told(
    tmp_path: Path, config_of: Any, weights_of: Any
) -> None:
    pytest.importorskip("torch", reason="torch is missing: published checkpoints are not tested")
    config = config_of()
    weights = weights_of(config)
    weights["H_init"] = weights["H_init"] + np.float32(1e-4)
    save_model(tmp_path / "x.safetensors", config, "", weights)
    assert (
        "rounded to bfloat16, which published code starts from: H_init"
        in done(tmp_path / "x.safetensors", tmp_path / "p", to="official").notes
    )


def test_checksum_of_a_model_file_is_looked_at(tmp_path: Path, model_file: Path) -> None:
    content = bytearray(model_file.read_bytes())
    content[-100] ^= 1
    model_file.write_bytes(content)
    with pytest.raises(CheckpointError, match="its checksum is not the one in its metadata"):
        done(model_file, tmp_path / "x.safetensors")


@pytest.mark.parametrize("source", ["nope", "empty", "file.txt", "hf://", "hf://one"])
def test_what_is_no_model_is_refused_in_one_line(tmp_path: Path, source: str) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "file.txt").write_text("hello")
    with pytest.raises(HRMError) as refused:
        done(source if source.startswith("hf:") else tmp_path / source, tmp_path / "x.safetensors")
    assert "\n" not in str(refused.value)


def test_published_weights_without_their_settings_are_refused_with_the_way_out(
    published: Path, tmp_path: Path
) -> None:
    (published / "all_config.yaml").rename(tmp_path / "all_config.yaml.bak")
    (published / "checkpoint").rename(published / "step_5")
    for source in (published, published / "step_5"):
        with pytest.raises(
            ConfigError, match=r"all_config\.yaml.* needed beside a published checkpoint"
        ):
            done(source, tmp_path / "x.safetensors")
    (tmp_path / "all_config.yaml.bak").rename(published / "all_config.yaml")
    (published / "step_5").unlink()
    with pytest.raises(CheckpointError, match=r"holds all_config\.yaml and no weights"):
        done(published, tmp_path / "x.safetensors")


@pytest.mark.parametrize(
    "content",
    [
        "",
        "[]",
        '{"task": "sudoku"}',
        '{"task": 1, "vocab_size": 11, "seq_len": 81, "num_puzzle_identifiers": 3}',
    ],
)
def test_damaged_sizes_beside_a_published_checkpoint_are_refused(
    published: Path, tmp_path: Path, content: str
) -> None:
    (published / "hrm.json").write_text(content)
    with pytest.raises(ConfigError, match=r"hrm\.json"):
        done(published, tmp_path / "x.safetensors")


def test_sizes_of_another_checkpoint_are_refused(published: Path, tmp_path: Path) -> None:
    (published / "hrm.json").write_text(
        '{"task": "arc", "vocab_size": 12, "seq_len": 900, "num_puzzle_identifiers": 3}'
    )
    with pytest.raises(
        ConfigError, match=r"hrm\.json has other sizes than checkpoint beside it.*; remove it"
    ):
        done(published, tmp_path / "x.safetensors")


def test_config_of_a_million_layers_is_refused_at_once(published: Path, tmp_path: Path) -> None:
    path = published / "all_config.yaml"
    path.write_text(path.read_text().replace("H_layers: 1", "H_layers: 1000000"))
    with pytest.raises(
        ConversionError, match=r"holds 1[0-9] tensors, its config says 1000000 \+ 1 layers"
    ):
        done(published, tmp_path / "x.safetensors")


def test_report_is_json_and_text(tmp_path: Path, model_file: Path) -> None:
    report = done(model_file, tmp_path / "x.safetensors", vocab_size=12)
    plain = json.loads(json.dumps(report.plain()))
    assert (
        len(plain["rows"])
        == len(report.rows)
        == len(parameter_table(load_model(model_file).config))
    )
    assert plain["changes"] == {"vocab_size": [11, 12]}
    lines = report.lines()
    assert len(lines) == len(report.rows) + 1 + len(report.notes) + 1
    assert lines[-1].endswith(f"{len(report.rows)} tensors; 2 resized, {len(report.rows) - 2} kept")


def published_modules(torch: Any, config: Any) -> Any:
    """Modules named as those of the published code, tensors of its dtypes; what it computes does not matter here."""

    def holder(**shapes: tuple[int, ...]) -> Any:
        module = torch.nn.Module()
        for name, shape in shapes.items():
            module.register_parameter(name, torch.nn.Parameter(torch.zeros(shape)))
        return module

    inner, width, states = (
        torch.nn.Module(),
        config.intermediate_size,
        getattr(torch, config.forward_dtype),
    )
    D = config.hidden_size
    inner.embed_tokens = holder(embedding_weight=(config.vocab_size, D))
    inner.lm_head, inner.q_head = (
        holder(weight=(config.vocab_size, D)),
        holder(weight=(2, D), bias=(2,)),
    )
    inner.puzzle_emb = torch.nn.Module()
    inner.puzzle_emb.register_buffer(
        "weights", torch.zeros(config.num_puzzle_identifiers, config.puzzle_emb_ndim)
    )
    inner.puzzle_emb.register_buffer(
        "local_weights", torch.zeros(4, config.puzzle_emb_ndim), persistent=False
    )
    for level in ("H_level", "L_level"):
        block = torch.nn.Module()
        block.self_attn, block.mlp = torch.nn.Module(), torch.nn.Module()
        block.self_attn.qkv_proj, block.self_attn.o_proj = (
            holder(weight=(3 * D, D)),
            holder(weight=(D, D)),
        )
        block.mlp.gate_up_proj, block.mlp.down_proj = (
            holder(weight=(2 * width, D)),
            holder(weight=(D, width)),
        )
        inner.add_module(level, torch.nn.Module())
        getattr(inner, level).layers = torch.nn.ModuleList([block])
    for state in ("H_init", "L_init"):
        inner.register_buffer(state, torch.zeros(D, dtype=states))
    outer, head = torch.nn.Module(), torch.nn.Module()
    outer.inner, head.model = inner, outer
    return head


@pytest.mark.parametrize("compiled", [True, False])
def test_published_code_loads_what_is_written_strictly(
    tmp_path: Path, model_file: Path, config_of: Any, weights_of: Any, compiled: bool
) -> None:
    torch = pytest.importorskip(
        "torch", reason="torch is missing: published checkpoints are not tested"
    )
    done(model_file, tmp_path / "p", to="official")
    state = torch.load(tmp_path / "p" / "checkpoint", map_location="cpu", weights_only=True)
    head = published_modules(torch, config_of())
    if compiled:  # a compiled module is one that holds the other as _orig_mod
        target = torch.nn.Module()
        target._orig_mod = head
    else:
        target, state = (
            head,
            {name.removeprefix("_orig_mod."): tensor for name, tensor in state.items()},
        )
    target.load_state_dict(state, strict=True, assign=True)
    inner = head.model.inner
    assert inner.H_init.dtype == torch.bfloat16
    assert inner.lm_head.weight.dtype == torch.float32
    expected = weights_of(config_of())
    np.testing.assert_array_equal(
        inner.L_level.layers[0].mlp.down_proj.weight.detach().numpy(),
        expected["L_level.layers.0.mlp.down_proj.weight"],
    )
    constants = {
        name for name, entry in parameter_table(config_of()).items() if entry.role is Role.CONSTANT
    }
    assert {
        name for name, tensor in inner.state_dict().items() if tensor.dtype == torch.bfloat16
    } == constants
    target.load_state_dict({**state}, strict=True)
    with pytest.raises(RuntimeError, match="Missing key"):  # the control
        target.load_state_dict(dict(list(state.items())[1:]), strict=True)


def test_anybody_loads_what_is_written_without_this_package(
    tmp_path: Path, model_file: Path, config_of: Any, weights_of: Any
) -> None:
    pytest.importorskip("torch", reason="torch is missing: published checkpoints are not tested")
    done(model_file, tmp_path / "x.safetensors", dtype="bfloat16")
    done(model_file, tmp_path / "c", to="checkpoint")
    done(model_file, tmp_path / "p", to="official")
    program = """
import json, sys
for package in ("hrm_convert", "hrm_core", "hrm_mlx", "hrm_cli"):
    sys.modules[package] = None
import torch
from safetensors import safe_open
from safetensors.torch import load_file
narrow, whole = load_file("x.safetensors"), load_file("c/model.safetensors")
official = torch.load("p/checkpoint", weights_only=True)
assert narrow.keys() == whole.keys() and len(official) == len(whole)
assert all(torch.equal(narrow[name], whole[name].bfloat16()) for name in whole)
assert all(torch.equal(official["_orig_mod.model.inner." + name].float(), whole[name]) for name in whole)
with safe_open("x.safetensors", "pt") as file:
    config = json.loads(file.metadata()["hrm"])["config"]
print(config["hidden_size"], float(whole["lm_head.weight"].double().sum()))
"""
    ran = subprocess.run(
        [sys.executable, "-I", "-c", program],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr
    hidden_size, total = ran.stdout.split()
    assert hidden_size == "8"
    assert float(total) == pytest.approx(
        float(weights_of(config_of())["lm_head.weight"].astype(np.float64).sum())
    )


def test_without_torch_published_forms_name_the_extra_and_ours_still_work(
    tmp_path: Path, published: Path, model_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "torch", None)
    for source, to in ((published, "checkpoint"), (model_file, "official")):
        with pytest.raises(HRMError, match=r"pip install 'torch>=2\.6'"):
            done(source, tmp_path / "dest", to=to)
    assert not (tmp_path / "dest").exists()
    done(model_file, tmp_path / "dest", to="checkpoint")


def test_read_model_is_the_whole_source(
    published: Path, config_of: Any, weights_of: Any, assert_same: Any
) -> None:
    model = read_model(str(published))
    assert model.config == config_of()
    assert_same(model.weights, weights_of(config_of()))
    with open_source(str(published)) as source:
        assert source.tensors["H_init"].dtype == np.dtype(ml_dtypes.bfloat16)
