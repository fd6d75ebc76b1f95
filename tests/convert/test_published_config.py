from pathlib import Path
from typing import Any

import pytest
import yaml
from hrm_convert.published_config import (
    TRAINING_KEYS,
    published_training,
    read_published_config,
    write_published_config,
)
from hypothesis import given, settings
from hypothesis import strategies as st

from hrm_core.config import RunConfig, load_config
from hrm_core.errors import ConfigError, HRMError

WHOLE: dict[str, Any] = {
    "arch": {
        "name": "hrm.hrm_act_v1@HierarchicalReasoningModel_ACTV1",
        "loss": {"name": "losses@ACTLossHead", "loss_type": "softmax_cross_entropy"},
        "H_cycles": 2, "H_layers": 4, "L_cycles": 8, "L_layers": 4, "expansion": 4, "halt_exploration_prob": 0.1, "halt_max_steps": 8,
        "hidden_size": 512, "num_heads": 8, "pos_encodings": "learned", "puzzle_emb_ndim": 512,
    },
    "data_path": "data/sudoku-extreme-full", "global_batch_size": 2304, "epochs": 100, "lr": 3e-4, "lr_min_ratio": 0.1,
    "lr_warmup_steps": 2000, "weight_decay": 0.1, "beta1": 0.9, "beta2": 0.95, "puzzle_emb_lr": 1e-5, "puzzle_emb_weight_decay": 0.1,
    "project_name": "Sudoku", "run_name": None, "checkpoint_path": None, "seed": 0, "checkpoint_every_eval": True, "eval_interval": 10,
    "eval_save_outputs": [],
}  # fmt: skip


def written(tmp_path: Path, **changes: Any) -> Path:
    """WHOLE with changes of the section arch, dumped as published code dumps it."""
    path = tmp_path / "all_config.yaml"
    arch = {
        key: value for key, value in {**WHOLE["arch"], **changes}.items() if value != "leave out"
    }
    path.write_text(yaml.dump({**WHOLE, "arch": arch}))
    return path


def test_reads_what_published_code_dumps(tmp_path: Path) -> None:
    found = read_published_config(written(tmp_path))
    assert found.arch.model_dump(exclude_none=True) == {
        **{key: value for key, value in WHOLE["arch"].items() if key not in ("name", "loss")},
        "expansion": 4.0,
        "loss_type": "softmax_cross_entropy",
        "rms_norm_eps": 1e-5,
        "rope_theta": 10000.0,
        "forward_dtype": "bfloat16",
    }
    assert found.training == {
        key: value for key, value in WHOLE.items() if key != "arch" and value is not None
    }
    assert found.training["puzzle_emb_lr"] == 1e-5
    assert found.ignored == []


def test_optional_settings_have_the_published_defaults(tmp_path: Path) -> None:
    found = read_published_config(
        written(tmp_path, puzzle_emb_ndim="leave out", forward_dtype="float32", rope_theta=None)
    )
    assert (found.arch.puzzle_emb_ndim, found.arch.forward_dtype, found.arch.rope_theta) == (
        0,
        "float32",
        10000.0,
    )


def test_settings_of_a_newer_version_are_told(tmp_path: Path) -> None:
    path = written(tmp_path)
    path.write_text(path.read_text() + "ema_rate: 0.999\nevaluators: [{name: x}]\n")
    assert read_published_config(path).ignored == ["ema_rate", "evaluators"]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"name": "trm.trm@TinyRecursiveReasoningModel"},
            "arch.name is trm.trm@TinyRecursiveReasoningModel, expected hrm.hrm_act_v1@",
        ),
        (
            {"loss": {"name": "losses@Other", "loss_type": "softmax_cross_entropy"}},
            "arch.loss.name is losses@Other, expected losses@ACTLossHead",
        ),
        ({"loss": 3}, "no section arch.loss"),
        (
            {"mlp_t": True, "no_ACT": False, "num_heads": "leave out"},
            "arch.mlp_t is unknown; arch.no_ACT is unknown; arch.num_heads is missing",
        ),
        ({"vocab_size": 11}, "arch.vocab_size is unknown"),
        ({"loss_type": "softmax_cross_entropy"}, "arch.loss_type is unknown"),
        (
            {
                "loss": {
                    "name": "losses@ACTLossHead",
                    "loss_type": "softmax_cross_entropy",
                    "hidden_size": 3,
                }
            },
            "arch.loss.hidden_size is unknown",
        ),
        ({"hidden_size": "512"}, "hidden_size: found '512' .a text., expected"),
        ({"num_heads": 7}, "hidden_size=512 cannot be split over num_heads=7"),
        ({"pos_encodings": "alibi"}, "pos_encodings: found 'alibi'"),
        ({"forward_dtype": "float16"}, "forward_dtype: found 'float16'"),
    ],
)
def test_other_network_is_refused(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message) as refused:
        read_published_config(written(tmp_path, **changes))
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"arch: 3",
        b"\xff\xfe",
        b"a: [",
        b"!!python/object/apply:os.mkdir [executed]",
        b"- 1",
        b"a: &a [*a]",
    ],
)
def test_other_yaml_is_refused(
    tmp_path: Path, content: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "all_config.yaml").write_bytes(content)
    with pytest.raises(ConfigError):
        read_published_config(tmp_path / "all_config.yaml")
    assert not (tmp_path / "executed").exists()


def test_missing_yaml_is_named_with_the_way_out(tmp_path: Path) -> None:
    with pytest.raises(
        ConfigError, match=r"all_config.yaml cannot be read .*needed beside a published checkpoint"
    ):
        read_published_config(tmp_path / "all_config.yaml")


def test_what_is_written_reads_back_and_has_every_published_key(
    tmp_path: Path, config_of: Any
) -> None:
    config, path = (
        config_of(pos_encodings="learned", rope_theta=5e5, forward_dtype="float32"),
        tmp_path / "all_config.yaml",
    )
    write_published_config(path, config, published_training(None))
    found = read_published_config(path)
    assert found.arch.sized(config.sizes) == config
    plain = yaml.safe_load(path.read_text())
    assert plain.keys() == {"arch", *TRAINING_KEYS}
    assert "vocab_size" not in plain["arch"], (
        "published code adds it from the data and takes no other"
    )
    numbers = {
        key: value
        for key, value in plain.items()
        if key in ("lr", "beta1", "epochs", "global_batch_size", "seed", "eval_interval")
    }
    assert numbers == {
        "lr": 1e-4,
        "beta1": 0.9,
        "epochs": 20000,
        "global_batch_size": 768,
        "seed": 0,
        "eval_interval": 2000,
    }


def test_training_settings_of_a_run_are_its_own() -> None:
    run = RunConfig.model_validate(load_config("sudoku-extreme-full").model_dump(exclude_none=True))
    assert published_training(run)["puzzle_emb_lr"] == run.optim.puzzle_emb_lr
    assert published_training(run)["global_batch_size"] == 2304


@settings(deadline=None, derandomize=True, max_examples=200)
@given(data=st.data())
def test_damaged_yaml_is_refused_or_read(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    path = tmp_path_factory.getbasetemp() / "fuzz.yaml"
    content = bytearray(yaml.dump(WHOLE).encode())
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(
            st.integers(0, 255) | st.sampled_from(list(b"&*!|>[]{}:-,'\"\n "))
        )
    path.write_bytes(content)
    try:
        read_published_config(path)
    except HRMError as error:
        message = str(error)
        assert "\n" not in message
