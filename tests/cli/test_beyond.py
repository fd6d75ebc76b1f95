"""Models beyond the published network from the command line (SPEC.md, section 13)."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

from hrm_core.data.writer import Examples, Layout, write_dataset


@pytest.fixture(scope="module")
def fixed_run(
    tmp_path_factory: pytest.TempPathFactory,
    hrm: Callable[..., tuple[int, str, str]],
    tiny_config: Path,
    tiny_data: Path,
) -> Path:
    """A run whose slots take every step."""
    run = tmp_path_factory.mktemp("runs") / "fixed"
    settings = ["--set", "model.halting=fixed", "--set", "train.max_updates=6"]
    status, _, err = hrm("train", tiny_config, "--data", tiny_data, "--run", run, *settings)
    assert status == 0, err
    return run


def model_of(run: Path) -> Path:
    return max((run / "checkpoints").iterdir()) / "model.safetensors"


def test_fixed_halting_is_trained_logged_and_saved(fixed_run: Path) -> None:
    assert "halting: fixed" in (fixed_run / "config.yaml").read_text()
    records = [json.loads(line) for line in (fixed_run / "log.jsonl").read_text().splitlines()]
    assert {record["kind"] for record in records} == {"train", "eval"}
    assert [name for record in records for name in record if name.startswith("q_")] == []
    weights = load_file(model_of(fixed_run))
    np.testing.assert_array_equal(weights["q_head.weight"], 0)
    np.testing.assert_array_equal(weights["q_head.bias"], -5)


def test_fixed_halting_is_solved_and_measured_with_all_steps(
    fixed_run: Path, hrm: Callable[..., tuple[int, str, str]]
) -> None:
    _, out, _ = hrm("solve", fixed_run, "1... ..2. .3.. ...4", "--json")
    assert len(json.loads(out)["q_halt"]) == 2
    status, out, _ = hrm("eval", fixed_run, "--json")
    assert status == 0
    found = json.loads(out)
    assert found["steps"] == 2
    assert not {"q_halt_accuracy", "calibration"} & found.keys()
    _, out, _ = hrm("eval", fixed_run)
    assert "Halting" not in out


def test_halting_by_q_is_refused_where_it_is_fixed(
    fixed_run: Path, refusal: Callable[..., str], tiny_data: Path
) -> None:
    expected = (
        "is for a model that learned when to halt; this one has model.halting=fixed: "
        "use --halt fixed"
    )
    for halt in ("q", "both"):
        assert refusal("eval", fixed_run, "--halt", halt) == f"--halt {halt} {expected}"
    puzzle = "1... ..2. .3.. ...4"
    assert refusal("solve", fixed_run, puzzle, "--halt", "q") == f"--halt q {expected}"
    shared = expected.replace("use --halt fixed", "leave it out")
    assert refusal("eval", fixed_run, "--budget", "100") == f"--budget {shared}"


def test_model_beyond_the_published_network_has_no_published_form(
    fixed_run: Path, refusal: Callable[..., str], tmp_path: Path
) -> None:
    dest = tmp_path / "official"
    message = refusal("convert", fixed_run, dest, "--to", "official")
    assert message.endswith(
        "has model.halting=fixed, which published code does not know; "
        "choose --to safetensors or --to checkpoint"
    )
    assert not dest.exists()


def test_killed_run_with_fixed_halting_goes_on_bit_for_bit(
    fixed_run: Path, hrm: Callable[..., tuple[int, str, str]], tmp_path: Path
) -> None:
    run = tmp_path / "run"
    shutil.copytree(fixed_run, run)
    shutil.rmtree(model_of(run).parent)
    assert hrm("train", "--run", run, "--resume")[0] == 0
    found, expected = load_file(model_of(run)), load_file(model_of(fixed_run))
    for name in expected:
        np.testing.assert_array_equal(found[name], expected[name], err_msg=name)


@pytest.fixture(scope="module")
def prefix_data(tmp_path_factory: pytest.TempPathFactory, tiny_data: Path) -> Path:
    """The tiny data set with a prefix of another length in each row."""
    data = tmp_path_factory.mktemp("data") / "prefix"
    shutil.copytree(tiny_data, data)
    for split in ("train", "test"):
        count = len(np.load(data / split / "all__inputs.npy"))
        lengths = np.arange(count, dtype=np.int32) % 17
        np.save(data / split / "all__prefix_len.npy", lengths)
    build = json.loads((data / "build.json").read_text())
    build.pop("sha256")  # of the files as they were built
    (data / "build.json").write_text(json.dumps(build))
    return data


PREFIX = [
    *("--set", "model.attention=prefix", "--set", "model.halting=fixed"),
    *("--set", "train.max_updates=6"),
]


@pytest.mark.parametrize("backend", ["mlx", "torch"])
def test_prefix_model_is_trained_and_measured(
    backend: str,
    hrm: Callable[..., tuple[int, str, str]],
    tiny_config: Path,
    prefix_data: Path,
    tmp_path: Path,
) -> None:
    pytest.importorskip(backend)
    run, chosen = tmp_path / "run", ["--backend", backend, "--device", "cpu"]
    status, _, err = hrm(
        "train", tiny_config, "--data", prefix_data, "--run", run, *PREFIX, *chosen
    )
    assert status == 0, err
    status, out, _ = hrm("eval", run, "--json", *chosen)
    assert status == 0
    assert json.loads(out)["steps"] == 2
    state = load_file(model_of(run).with_name("train_state.safetensors"))
    assert set(state["carry.prefix_len"].tolist()) <= set(range(17))
    assert len(set(state["carry.prefix_len"].tolist())) > 1


@pytest.mark.parametrize("backend", ["mlx", "torch"])
def test_prefix_run_goes_on_bit_for_bit(
    backend: str,
    hrm: Callable[..., tuple[int, str, str]],
    tiny_config: Path,
    prefix_data: Path,
    tmp_path: Path,
) -> None:
    pytest.importorskip(backend)
    run, chosen = tmp_path / "run", ["--backend", backend, "--device", "cpu"]
    start = ["train", tiny_config, "--data", prefix_data, "--run", run, *PREFIX]
    status, _, err = hrm(*start, "--set", "train.save_every_updates=5", *chosen)
    assert status == 0, err
    expected = load_file(model_of(run))
    shutil.rmtree(model_of(run).parent)
    assert model_of(run).parent.name == "update_00000005"  # slots are at the first of two steps
    status, _, err = hrm("train", "--run", run, "--resume", *chosen)
    assert status == 0, err
    found = load_file(model_of(run))
    for name in expected:
        np.testing.assert_array_equal(found[name], expected[name], err_msg=name)


def test_data_without_prefix_lengths_is_refused_for_a_prefix_model(
    refusal: Callable[..., str], tiny_config: Path, tiny_data: Path, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    message = refusal("train", tiny_config, "--data", tiny_data, "--run", run, *PREFIX)
    assert message == (
        f"{tiny_data}/train/all__prefix_len.npy is missing, which model.attention=prefix needs; "
        "build the data set with it or choose another model.attention"
    )
    assert not run.exists()


def test_prefix_lengths_are_ignored_by_other_models(
    hrm: Callable[..., tuple[int, str, str]], tiny_run: Path, tiny_data: Path, prefix_data: Path
) -> None:
    found, expected = (
        json.loads(hrm("eval", tiny_run, "--data", data, "--json")[1])
        for data in (prefix_data, tiny_data)
    )
    assert {**found, "seconds": 0, "halt": 0} == {**expected, "seconds": 0, "halt": 0}


@pytest.fixture(scope="module")
def chunk_data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Rows of three chunks whose answer is the question, and a prefix of each row."""
    data = tmp_path_factory.mktemp("data") / "chunks"
    layout = Layout(vocab_size=6, seq_len=8, num_chunks=3)
    splits = {}
    for split, count in (("train", 40), ("test", 20)):
        tokens = np.random.default_rng(count).integers(1, 6, (count, 24))
        lengths = np.arange(count) % 9
        splits[split] = {"all": [Examples(tokens, tokens, prefix_len=lengths)]}
    write_dataset(data, layout, splits, {"task": "lines"})
    return data


IN_CHUNKS = [
    *("--set", "model.halt_max_steps=4", "--set", "train.max_updates=12"),
    *("--set", "train.save_every_updates=5", "--set", "train.report_every=1"),
]


CHUNKS_OF = {
    "q": ["--set", "model.halting=q"],
    "fixed": ["--set", "model.halting=fixed"],
    "prefix": ["--set", "model.halting=fixed", "--set", "model.attention=prefix"],
}


@pytest.mark.parametrize("fields", CHUNKS_OF.values(), ids=CHUNKS_OF)
@pytest.mark.parametrize("backend", ["mlx", "torch"])
def test_run_in_chunks_goes_on_in_the_middle_of_one(
    backend: str,
    fields: list[str],
    hrm: Callable[..., tuple[int, str, str]],
    tiny_config: Path,
    chunk_data: Path,
    tmp_path: Path,
) -> None:
    pytest.importorskip(backend)
    run, chosen = tmp_path / "run", ["--backend", backend, "--device", "cpu"]
    start = ["train", tiny_config, "--data", chunk_data, "--run", run]
    status, _, err = hrm(*start, *IN_CHUNKS, *fields, *chosen)
    assert status == 0, err
    expected, log = load_file(model_of(run)), (run / "log.jsonl").read_text()
    shutil.rmtree(model_of(run).parent)
    assert model_of(run).parent.name == "update_00000010"
    status, _, err = hrm("train", "--run", run, "--resume", *chosen)
    assert status == 0, err
    found = load_file(model_of(run))
    for name in expected:
        np.testing.assert_array_equal(found[name], expected[name], err_msg=name)
    lines = [
        [json.loads(line) for line in text.splitlines()]
        for text in (log, (run / "log.jsonl").read_text())
    ]
    for name in ("update", "count", "steps", "accuracy", "lm_loss"):
        assert [line.get(name) for line in lines[0]] == [line.get(name) for line in lines[1]]
    status, out, _ = hrm("eval", run, "--json", *chosen)
    assert status == 0
    assert json.loads(out)["count"] == 20


def test_model_of_one_chunk_is_refused_for_data_of_three(
    refusal: Callable[..., str], tiny_config: Path, chunk_data: Path, tmp_path: Path
) -> None:
    start = ["train", tiny_config, "--data", chunk_data, "--run", tmp_path / "run"]
    assert "model.num_chunks=1 but the data has num_chunks=3" in refusal(
        *start, "--set", "model.num_chunks=1"
    )
    assert "does not reach the end of the last chunk" in refusal(*start)


@pytest.fixture(scope="module")
def picture_data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One token behind the patches of two strips: is the picture's mean above half?"""
    data = tmp_path_factory.mktemp("data") / "pictures"
    layout = Layout(vocab_size=4, seq_len=5, num_chunks=2, ignore_label_id=0)
    splits = {}
    for split, count in (("train", 40), ("test", 20)):
        images = np.random.default_rng(count).integers(0, 256, (count, 4, 8), np.uint8)
        inputs = np.ones((count, 10), np.int64)
        labels = np.zeros_like(inputs)
        labels[:, -1] = 2 + (images.mean(axis=(1, 2)) > 127)
        splits[split] = {"all": [Examples(inputs, labels, images=images)]}
    write_dataset(data, layout, splits, {"task": "bright"})
    return data


def test_pictures_and_prefixes_are_inspected(
    hrm: Callable[..., tuple[int, str, str]], picture_data: Path, chunk_data: Path
) -> None:
    _, out, _ = hrm("data", "inspect", picture_data)
    assert "train: 2 chunks of seq_len 5, vocab_size 4" in out
    assert "    images        4 x 8, uint8, values 0 to 255" in out
    _, out, _ = hrm("data", "inspect", chunk_data)
    assert "    prefix_len    0 to 8" in out
    _, out, _ = hrm("data", "inspect", picture_data, "--json")
    images = json.loads(out)["splits"]["test"]["sets"]["all"]["images"]
    assert images == {"size": [4, 8], "dtype": "uint8", "values": [0, 255]}


LOOKING = [*IN_CHUNKS, "--set", "model.patch_size=2"]


@pytest.mark.parametrize("backend", ["mlx", "torch"])
def test_run_on_pictures_goes_on_bit_for_bit(
    backend: str,
    hrm: Callable[..., tuple[int, str, str]],
    tiny_config: Path,
    picture_data: Path,
    tmp_path: Path,
) -> None:
    pytest.importorskip(backend)
    run, chosen = tmp_path / "run", ["--backend", backend, "--device", "cpu"]
    status, _, err = hrm(
        "train", tiny_config, "--data", picture_data, "--run", run, *LOOKING, *chosen
    )
    assert status == 0, err
    assert "patch_size: 2" in (run / "config.yaml").read_text()
    expected = load_file(model_of(run))
    assert expected["embed_patches.weight"].shape == (32, 4)
    shutil.rmtree(model_of(run).parent)
    status, _, err = hrm("train", "--run", run, "--resume", *chosen)
    assert status == 0, err
    found = load_file(model_of(run))
    for name in expected:
        np.testing.assert_array_equal(found[name], expected[name], err_msg=name)
    status, out, _ = hrm("eval", run, "--json", *chosen)
    assert status == 0
    assert json.loads(out)["count"] == 20


def test_model_without_patches_leaves_pictures_alone(
    hrm: Callable[..., tuple[int, str, str]], tiny_config: Path, picture_data: Path, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    status, _, err = hrm("train", tiny_config, "--data", picture_data, "--run", run, *IN_CHUNKS)
    assert status == 0, err
    assert "embed_patches.weight" not in load_file(model_of(run))


def test_data_without_the_pictures_of_its_model_is_refused(
    refusal: Callable[..., str],
    tiny_config: Path,
    tiny_data: Path,
    picture_data: Path,
    tmp_path: Path,
) -> None:
    start = ["train", tiny_config, "--run", tmp_path / "run", *IN_CHUNKS]
    assert refusal(*start, "--data", tiny_data, "--set", "model.patch_size=2") == (
        f"{tiny_data}/train/all__images.npy is missing, which model.patch_size needs; "
        "build the data set with images or leave model.patch_size out"
    )
    stated = ["--set", "model.patch_size=2", "--set", "model.image_size=[4, 16]"]
    assert "model.image_size=(4, 16) but the data has image_size=(4, 8)" in refusal(
        *start, "--data", picture_data, *stated
    )
    assert "cannot be cut into squares of patch_size=3" in refusal(
        *start, "--data", picture_data, "--set", "model.patch_size=3"
    )
