"""A damaged recorded case gets one line that names the file, never a traceback and never a wrong verdict."""

import json
import shutil
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.numpy import save

from hrm_core.errors import HRMError
from hrm_parity.checks import backend_named, check_case
from hrm_parity.golden import CaseError, ModelCase, Recorded, carried_cases, find_cases, load_case

FILES = ["case.json", "forward.safetensors", "train.safetensors", "weights.safetensors"]
FUZZ = settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3),
)


@pytest.fixture
def case(tmp_path: Path) -> Path:
    return Path(shutil.copytree(carried_cases()[0], tmp_path / "case"))


def change(case: Path, path: tuple[str, ...], value: Any) -> None:
    """Set one entry of case.json."""
    whole = json.loads((case / "case.json").read_text())
    *sections, key = path
    section = whole
    for name in sections:
        section = section[name]
    section[key] = value
    (case / "case.json").write_text(json.dumps(whole))


def refuse(case: Path, message: str = "") -> None:
    with pytest.raises(HRMError, match=message) as caught:
        load_case(case)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", FILES)
def test_missing_file_is_named(case: Path, name: str) -> None:
    (case / name).unlink()
    refuse(case, name)


@pytest.mark.parametrize("name", FILES)
@FUZZ
@given(data=st.data())
def test_truncated_file_is_refused(case: Path, name: str, data: st.DataObject) -> None:
    whole = (carried_cases()[0] / name).read_bytes()
    (case / name).write_bytes(whole[: data.draw(st.integers(0, len(whole) - 3))])
    refuse(case, name)


@pytest.mark.parametrize("name", FILES[1:])
@FUZZ
@given(data=st.data())
def test_flipped_byte_is_refused(case: Path, name: str, data: st.DataObject) -> None:
    content = bytearray((carried_cases()[0] / name).read_bytes())
    content[data.draw(st.integers(0, len(content) - 1))] ^= data.draw(st.integers(1, 255))
    (case / name).write_bytes(content)
    refuse(case, f"{name} is damaged: sha256")


@FUZZ
@given(data=st.data())
def test_tensor_file_of_garbage_is_refused_without_a_hash(case: Path, data: st.DataObject) -> None:
    change(case, ("sha256",), {})
    content = bytearray((carried_cases()[0] / "forward.safetensors").read_bytes())
    header = int.from_bytes(content[:8], "little")
    content[data.draw(st.integers(0, header))] ^= data.draw(st.integers(1, 255))
    (case / "forward.safetensors").write_bytes(content)
    with suppress(
        CaseError
    ):  # a flipped bit in a name makes another name; nothing else may be raised
        load_case(case)


@pytest.mark.parametrize(
    "path",
    [
        ("name",),
        ("config",),
        ("config", "hidden_size"),
        ("config", "batch_size"),
        ("loss", "loss_type"),
        ("hyperparameters", "lr"),
        ("sha256",),
    ],
    ids=".".join,
)
@FUZZ
@given(value=JSON)
def test_setting_of_another_kind_is_refused(case: Path, path: tuple[str, ...], value: Any) -> None:
    change(case, path, value)
    with suppress(HRMError):  # a value may be right by chance; nothing else may be raised
        load_case(case)


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        (("config", "vocab_size"), 8, r"lm_head.weight|embed_tokens"),
        (("config", "seq_len"), 17, r"inputs has shape \(6, 16\), case.json says \(6, 17\)"),
        (("config", "batch_size"), 7, r"inputs has shape \(6, 16\), case.json says \(7, 16\)"),
        (("config", "batch_size"), True, "config.batch_size: Input should be a valid integer"),
        (("config", "hiden_size"), 64, "unknown key hiden_size"),
        (("hyperparameters",), None, "hyperparameters are missing"),
        (("hyperparameters", "lr"), "fast", "hyperparameters.lr"),
    ],
)
def test_contradiction_is_refused(
    case: Path, path: tuple[str, ...], value: Any, message: str
) -> None:
    change(case, path, value)
    refuse(case, message)


def test_case_without_training_is_complete(case: Path) -> None:
    change(case, ("sha256", "train.safetensors"), "")
    whole = json.loads((case / "case.json").read_text())
    del whole["sha256"]["train.safetensors"]
    (case / "case.json").write_text(json.dumps(whole))
    (case / "train.safetensors").unlink()
    report = check_case(load_case(case), backend_named("mlx"))
    assert {row.quantity.split()[0] for row in report.rows} == {"forward"}


def test_tensor_of_another_shape_is_named(case: Path) -> None:
    loaded = load_case(case)
    assert isinstance(loaded, ModelCase)
    assert loaded.forward is not None
    loaded.forward["logits"] = loaded.forward["logits"][:, :3]
    with pytest.raises(
        CaseError, match=r"logits has shape \(4, 3, 16, 7\), its case.json gives \(4, 6, 16, 7\)"
    ):
        check_case(loaded, backend_named("mlx"))


def test_missing_tensor_is_named(tmp_path: Path) -> None:
    with pytest.raises(CaseError, match="holds no loss"):
        Recorded(tmp_path, {})["loss"]


def test_folder_without_cases_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CaseError, match="no recorded case"):
        find_cases(tmp_path)


def test_tensors_of_another_model_are_refused(case: Path) -> None:
    change(case, ("sha256",), {})
    (case / "weights.safetensors").write_bytes(
        save({"lm_head.weight": np.zeros((7, 64), np.float32)})
    )
    refuse(case, "weights do not fit")
