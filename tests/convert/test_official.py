"""Pickles of torch: nothing in them is executed, every damage is noticed, what is written is what published code loads."""

import os
import pickle
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hrm_convert import official
from hrm_convert.official import OfficialWeights, require_torch, write_official
from hrm_convert.safetensors_file import open_safetensors
from hrm_convert.tensors import in_memory, of_array
from hypothesis import given, settings
from hypothesis import strategies as st

from hrm_core.errors import BackendError, CheckpointError

torch = pytest.importorskip(
    "torch", reason="torch is missing: published checkpoints are not tested"
)


class Payload:
    """A pickle of this makes a file when it is loaded carelessly."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return os.mkdir, (str(self.path),)


def read(path: Path) -> dict[str, Any]:
    weights = OfficialWeights(path)
    return {name: in_memory(name, tensor, tensor.dtype) for name, tensor in weights.tensors.items()}


@pytest.fixture(scope="module")
def state() -> dict[str, Any]:
    torch.manual_seed(0)
    return {
        "a": torch.randn(5, 3),
        "b": torch.randn(4).to(torch.bfloat16),
        "c": torch.randn(2, 2).half(),
    }


@pytest.fixture
def path(tmp_path: Path, state: dict[str, Any]) -> Path:
    torch.save(state, tmp_path / "checkpoint")
    return tmp_path / "checkpoint"


def test_reads_three_dtypes_bit_for_bit(path: Path, state: dict[str, Any]) -> None:
    found = read(path)
    assert {name: array.dtype.name for name, array in found.items()} == {
        "a": "float32",
        "b": "bfloat16",
        "c": "float16",
    }
    for name, tensor in state.items():
        assert found[name].tobytes() == tensor.contiguous().view(torch.uint8).numpy().tobytes()


def test_views_of_a_larger_storage_and_trained_parameters_are_read(tmp_path: Path) -> None:
    whole = torch.arange(12.0).reshape(3, 4)
    torch.save({"t": whole.T, "row": torch.nn.Parameter(whole[1])}, tmp_path / "x")
    found = read(tmp_path / "x")
    np.testing.assert_array_equal(found["t"], whole.numpy().T)
    np.testing.assert_array_equal(found["row"], whole[1].numpy())


def test_mapping_is_let_go_now_and_then_and_the_numbers_stay(
    path: Path, state: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(official, "MAPPED_BYTES", 1)
    tensor = OfficialWeights(path).tensors["a"]
    rows = [tensor.read(i, i + 1) for i in range(5)]
    np.testing.assert_array_equal(np.concatenate(rows), state["a"].numpy())


@pytest.mark.parametrize(
    "wrap",
    [lambda payload: payload, lambda payload: {"a": torch.zeros(2), "b": payload}],
    ids=["alone", "in a dict"],
)
def test_code_in_a_pickle_is_refused_and_not_executed(
    tmp_path: Path, wrap: Callable[[Any], Any]
) -> None:
    torch.save(wrap(Payload(tmp_path / "executed")), tmp_path / "x")
    with pytest.raises(
        CheckpointError,
        match=r"holds more than tensors \(it calls posix\.mkdir\); refused, nothing in it was executed",
    ) as refused:
        OfficialWeights(tmp_path / "x")
    assert "weights_only" not in str(refused.value), "no advice to load it all the same"
    assert not (tmp_path / "executed").exists()
    torch.load(tmp_path / "x", weights_only=False)  # the control: careless code does execute it
    assert (tmp_path / "executed").is_dir()


def test_bare_pickle_with_code_is_not_even_opened(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(pickle.dumps(Payload(tmp_path / "executed")))
    with pytest.raises(
        CheckpointError, match=r"is no archive of torch\.save; .*nothing in it was executed"
    ):
        OfficialWeights(tmp_path / "x")
    assert not (tmp_path / "executed").exists()


def test_pointer_of_git_lfs_is_called_one(tmp_path: Path) -> None:
    (tmp_path / "x").write_text(
        "version https://git-lfs.github.com/spec/v1\noid sha256:1\nsize 9\n"
    )
    with pytest.raises(CheckpointError, match=r"x is a pointer of Git LFS, .* git lfs pull"):
        OfficialWeights(tmp_path / "x")
    with (
        pytest.raises(CheckpointError, match="x is a pointer of Git LFS"),
        open_safetensors(tmp_path / "x"),
    ):
        pass


@pytest.mark.parametrize("content", [b"", b"PK", b"\x80\x02}.", b"not a checkpoint"])
def test_other_files_are_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "x").write_bytes(content)
    with pytest.raises(CheckpointError, match=r"is no archive of torch\.save"):
        OfficialWeights(tmp_path / "x")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ([torch.zeros(2)], "holds a list, expected tensors by name"),
        ({3: torch.zeros(2)}, "holds a dict, expected tensors by name"),
        (torch.zeros(2), "holds a Tensor, expected tensors by name"),
    ],
)
def test_other_contents_are_refused(tmp_path: Path, content: Any, message: str) -> None:
    torch.save(content, tmp_path / "x")
    with pytest.raises(CheckpointError, match=message):
        OfficialWeights(tmp_path / "x")


def test_entries_that_are_no_plain_floats_are_set_apart(tmp_path: Path) -> None:
    strange = {
        "count": 3,
        "ids": torch.zeros(4, dtype=torch.int64),
        "wide": torch.zeros(2, dtype=torch.complex64),
        "huge": torch.zeros(1).expand(10**6, 10**6),
        "sparse": torch.zeros(2, 2).to_sparse(),
        "meta": torch.zeros(10**6, 10**6, device="meta"),
    }
    torch.save({**strange, "good": torch.ones(1)}, tmp_path / "x")
    weights = OfficialWeights(tmp_path / "x")
    assert weights.strange.keys() == strange.keys()
    assert weights.tensors.keys() == {"good"}
    assert weights.strange["huge"] == "float32[1000000, 1000000], more than the file holds"
    assert (weights.strange["count"], weights.strange["wide"]) == ("int", "complex64[2]")


def test_float64_is_read_as_it_is(tmp_path: Path) -> None:
    values = torch.tensor([[1 / 3, -(2.0**-60)]], dtype=torch.float64)
    torch.save({"wide": values}, tmp_path / "x")
    found = OfficialWeights(tmp_path / "x").tensors["wide"]
    assert found.dtype == np.float64
    np.testing.assert_array_equal(found.read(0, 1), values.numpy())


NETWORK = {"lm_head.weight": torch.ones(2, 3), "H_init": torch.arange(4.0)}


@pytest.mark.parametrize(
    ("content", "note"),
    [
        (NETWORK, None),
        ({"model": NETWORK}, "entry model of the file"),
        (
            {"step": 3, "state_dict": NETWORK, "optimizer": {"state": {0: {"m": torch.ones(2)}}}},
            "entry state_dict of the file; optimizer, step beside it were left out",
        ),
        ({"a": {"b": NETWORK}, "loss": torch.ones(1)}, "entry a.b of the file; loss beside it"),
        ({**NETWORK, "ema": NETWORK}, None),
    ],
)
def test_state_dict_inside_another_is_found(
    tmp_path: Path, content: dict[str, Any], note: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.save(content, tmp_path / "x")
    monkeypatch.setattr(official, "MAPPED_BYTES", 0)  # the file is opened again for each block
    weights = OfficialWeights(tmp_path / "x")
    assert weights.tensors.keys() == NETWORK.keys()
    for name, value in NETWORK.items():
        rows = weights.tensors[name].read(0, len(value))
        np.testing.assert_array_equal(rows, value.numpy())
    assert [note in found for found in weights.notes if note] == [True] * bool(note)
    assert bool(weights.notes) == bool(note)


def test_two_networks_in_a_file_are_refused(tmp_path: Path) -> None:
    torch.save({"model": NETWORK, "ema": {"shadow": NETWORK}}, tmp_path / "x")
    with pytest.raises(CheckpointError, match=r"several networks, model and ema\.shadow; save one"):
        OfficialWeights(tmp_path / "x")


def test_compressed_archive_is_refused(path: Path, tmp_path: Path) -> None:
    with (
        zipfile.ZipFile(path) as source,
        zipfile.ZipFile(tmp_path / "packed", "w", zipfile.ZIP_DEFLATED) as packed,
    ):
        for name in source.namelist():
            packed.writestr(name, source.read(name))
    with pytest.raises(CheckpointError, match="is compressed"):
        OfficialWeights(tmp_path / "packed")


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_archive_with_two_entries_of_one_name_is_refused(path: Path) -> None:
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr(archive.namelist()[0], b"other")
    with pytest.raises(CheckpointError, match="two entries of one name"):
        OfficialWeights(path)


def test_every_truncation_is_noticed(path: Path) -> None:
    content = path.read_bytes()
    for length in {4, 100, len(content) // 2, len(content) - 1}:
        path.write_bytes(content[:length])
        with pytest.raises(CheckpointError, match="cut short or damaged"):
            OfficialWeights(path)


@settings(deadline=None, derandomize=True, max_examples=150)
@given(data=st.data())
def test_flipped_bits_are_refused_or_change_nothing(
    tmp_path_factory: pytest.TempPathFactory, state: dict[str, Any], data: st.DataObject
) -> None:
    path = tmp_path_factory.getbasetemp() / "fuzz.pt"
    torch.save(state, path)
    content = bytearray(path.read_bytes())
    for _ in range(data.draw(st.integers(1, 3))):
        content[data.draw(st.integers(0, len(content) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    path.write_bytes(content)
    try:
        found = read(path)
    except CheckpointError:
        return
    assert {name: array.tobytes() for name, array in found.items()} == {
        name: tensor.view(torch.uint8).numpy().tobytes() for name, tensor in state.items()
    }


@settings(deadline=None, derandomize=True, max_examples=150)
@given(data=st.data())
def test_damaged_pickle_with_right_checksums_is_refused_or_read(
    tmp_path_factory: pytest.TempPathFactory, state: dict[str, Any], data: st.DataObject
) -> None:
    folder = tmp_path_factory.getbasetemp()
    torch.save(state, folder / "whole.pt")
    with (
        zipfile.ZipFile(folder / "whole.pt") as source,
        zipfile.ZipFile(folder / "changed.pt", "w") as changed,
    ):
        for name in source.namelist():
            content = bytearray(source.read(name))
            if name.endswith("data.pkl"):
                for _ in range(data.draw(st.integers(1, 3))):
                    content[data.draw(st.integers(0, len(content) - 1))] = data.draw(
                        st.integers(0, 255)
                    )
            changed.writestr(name, bytes(content))
    try:
        found = read(folder / "changed.pt")
    except CheckpointError:
        return
    assert sum(array.nbytes for array in found.values()) < 10_000


def test_writes_float32_and_initial_states_in_forward_dtype(
    tmp_path: Path, config_of: Any, weights_of: Any
) -> None:
    config = config_of()
    weights = weights_of(config)
    write_official(
        tmp_path / "x", config, {name: of_array(array) for name, array in weights.items()}
    )
    state = torch.load(tmp_path / "x", weights_only=True)
    assert state.keys() == {f"_orig_mod.model.inner.{name}" for name in weights}
    for name, array in weights.items():
        tensor = state[f"_orig_mod.model.inner.{name}"]
        assert tensor.dtype == (torch.bfloat16 if name in ("H_init", "L_init") else torch.float32)
        np.testing.assert_array_equal(tensor.float().numpy(), array)


def test_full_disk_is_an_os_error(tmp_path: Path, config_of: Any, weights_of: Any) -> None:
    config = config_of()
    tensors = {name: of_array(array) for name, array in weights_of(config).items()}
    if not Path("/dev/full").exists():
        pytest.skip("/dev/full is missing")
    with pytest.raises(OSError, match=r"\w"):
        write_official(Path("/dev/full"), config, tensors)


def test_without_torch_the_error_says_which_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(BackendError, match=r"torch is not installed.*pip install 'torch>=2\.6'"):
        require_torch()


def test_nothing_but_official_needs_torch() -> None:
    program = "import sys, hrm_convert.conversion; sys.exit(bool({'torch', 'mlx', 'huggingface_hub'} & set(sys.modules)))"
    assert (
        subprocess.run(
            [sys.executable, "-c", program], check=False, cwd=Path(__file__).parents[2]
        ).returncode
        == 0
    )
