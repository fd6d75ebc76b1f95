"""`hrm convert` as a user meets it: every form, what is said, what is refused, and that it verifies."""

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hrm_core.runs.checkpoint import find_model, load_model, save_model

Hrm = Callable[..., Any]
Refusal = Callable[..., str]
PUBLISHED = {
    "HRM-checkpoint-sudoku-extreme": (11, 81),
    "HRM-checkpoint-maze-30x30-hard": (6, 900),
    "HRM-checkpoint-ARC-2": (12, 900),
}
CONVERT_ALL = """
import sys
from hrm_cli.main import main
folder, *names = sys.argv[1:]
for name in names:
    sys.argv = ["hrm", "convert", f"hf://sapientinc/{name}", f"{folder}/{name}", "--json"]
    status = main()
sys.exit(status)
"""
SOLVABLE = "1... ..2. .3.. ...4"


@pytest.fixture(scope="session")
def needs_torch() -> Any:
    return pytest.importorskip(
        "torch", reason="torch is missing: published checkpoints are not tested"
    )


@pytest.fixture
def official(hrm: Hrm, tiny_run: Path, tmp_path: Path, needs_torch: Any) -> Path:
    """The finished run as a published checkpoint."""
    outcome = hrm("convert", tiny_run, tmp_path / "official", "--to", "official")
    assert (outcome.status, outcome.err) == (0, "")
    return tmp_path / "official"


def test_run_becomes_a_file_that_solves_and_starts_training(
    hrm: Hrm, tiny_run: Path, tiny_config: Path, tiny_data: Path, tmp_path: Path
) -> None:
    file = tmp_path / "small.safetensors"
    outcome = hrm("convert", tiny_run, file, "--dtype", "bfloat16")
    assert (outcome.status, outcome.err) == (0, "")
    *rows, summary = outcome.out.splitlines()
    assert summary.startswith(f"{tiny_run} (checkpoint) -> {file} (safetensors): ")
    assert any(
        row.startswith("lm_head.weight") and row.endswith("cast float32 -> bfloat16")
        for row in rows
    )
    weights = load_model(find_model(tiny_run)).weights
    assert file.stat().st_size < 0.6 * sum(array.nbytes for array in weights.values())
    assert hrm("solve", file, SOLVABLE, "--device", "cpu").status in (0, 1)
    arguments = (
        "--data",
        tiny_data,
        "--run",
        tmp_path / "run",
        "--init",
        file,
        "--max-updates",
        1,
        "--device",
        "cpu",
    )
    assert hrm("train", tiny_config, *arguments).status == 0


def test_published_checkpoint_comes_back_and_is_measured_alike(
    hrm: Hrm, tiny_run: Path, tiny_data: Path, official: Path, tmp_path: Path
) -> None:
    outcome = hrm("convert", official, tmp_path / "back", "--json")
    report = json.loads(outcome.out)
    assert (report["dest_format"], report["task"], report["config"]["seq_len"]) == (
        "checkpoint",
        "sudoku",
        16,
    )
    before, after = load_model(find_model(tiny_run)), load_model(find_model(tmp_path / "back"))
    assert (before.config, before.crc32) == (after.config, after.crc32)
    measured = [
        json.loads(hrm("eval", model, "--data", tiny_data, "--json", "--device", "cpu").out)
        for model in (tiny_run, tmp_path / "back")
    ]
    told_alike = measured[0].keys() - {"model", "seconds", "halt"}  # the last holds seconds, too
    assert {name: measured[0][name] for name in told_alike} == {
        name: measured[1][name] for name in told_alike
    }


def test_converted_checkpoint_cannot_be_resumed_and_says_so(
    refusal: Refusal, hrm: Hrm, tiny_run: Path, tmp_path: Path
) -> None:
    assert "but not resumed" in hrm("convert", tiny_run, tmp_path / "c", "--to", "checkpoint").out
    run = Path(shutil.copytree(tiny_run, tmp_path / "run"))
    shutil.rmtree(run / "checkpoints")
    shutil.copytree(tmp_path / "c", run / "checkpoints" / "update_00000024")
    outcome = hrm("train", "--run", run, "--resume", "--device", "cpu")
    assert outcome.status == 2
    assert (
        "holds no optimizer state, so it cannot be resumed; start from it with --init"
        in outcome.err
    )


@pytest.mark.parametrize(
    "options",
    [[], ["--dtype", "bfloat16"], ["--dtype", "float16"], ["--vocab-size", "9"]],
    ids=" ".join,
)
def test_verify_runs_both_and_they_agree(
    hrm: Hrm, tiny_run: Path, tmp_path: Path, options: list[str]
) -> None:
    outcome = hrm("convert", tiny_run, tmp_path / "x.safetensors", "--verify", *options)
    assert outcome.status == 0, outcome.err
    assert "the models agree in 4 quantities" in outcome.out
    assert ("not compared: tokens from 6 on" in outcome.out) == ("--vocab-size" in options)


def test_verify_of_a_published_checkpoint_agrees(hrm: Hrm, official: Path, tmp_path: Path) -> None:
    verified = json.loads(hrm("convert", official, tmp_path / "back", "--verify", "--json").out)[
        "verified"
    ]
    assert (verified["differs"], len(verified["rows"])) == (False, 4)
    assert all(row["gap"] == 0 for row in verified["rows"])


def test_verify_notices_another_model(
    hrm: Hrm, tiny_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from hrm_convert import sources

    def swapped(source: str, seq_len: int | None = None) -> Any:
        model = sources_read_model(source, seq_len)
        if source.endswith(".safetensors"):
            weights = dict(model.weights)
            for name in [name for name in weights if name.startswith("H_level")]:
                other = name.replace("H_level", "L_level")
                weights[name], weights[other] = weights[other], weights[name]
            object.__setattr__(model, "weights", weights)
        return model

    sources_read_model = sources.read_model
    monkeypatch.setattr(sources, "read_model", swapped)
    outcome = hrm(
        "convert", tiny_run, tmp_path / "x.safetensors", "--verify", "--dtype", "bfloat16"
    )
    assert outcome.status == 1
    assert outcome.out.splitlines()[-1] == "the models differ"


def test_learned_positions_that_were_changed_are_said_not_to_be_compared(
    hrm: Hrm, tiny_run: Path, tmp_path: Path
) -> None:
    outcome = hrm("convert", tiny_run, tmp_path / "x.safetensors", "--verify", "--seq-len", 25)
    assert outcome.status == 0
    assert "resized: 1 puzzle slots kept, 25 positions interpolated between 16" in outcome.out
    assert outcome.out.splitlines()[-2:] == [
        "not compared: anything: learned positions were changed, the two no longer compute the same",
        "nothing was compared",
    ]


def test_other_puzzles_take_their_vectors_by_name(hrm: Hrm, tiny_run: Path, tmp_path: Path) -> None:
    (tmp_path / "new.json").write_text('["new", "<blank>", "more"]')
    outcome = hrm(
        "convert",
        tiny_run,
        tmp_path / "x.safetensors",
        "--identifiers",
        tmp_path / "new.json",
        "--mean-of",
        "<blank>",
        "--verify",
    )
    assert outcome.status == 0, outcome.err
    tables = [
        load_model(find_model(path)).weights["puzzle_emb.weights"]
        for path in (tiny_run, tmp_path / "x.safetensors")
    ]
    np.testing.assert_array_equal(tables[1], np.repeat(tables[0], 3, axis=0))
    assert "not compared: 2 new puzzle identifiers" in outcome.out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["RUN", "TMP/x"], "may become an official or another checkpoint; choose --to"),
        (["RUN", "TMP/used.safetensors"], "is there already; choose another DEST, or --force"),
        (["RUN", "RUN/x.safetensors"], "lie in each other"),
        (["TMP/nope", "TMP/x"], "nope does not exist; expected a run"),
        (["TMP/used.safetensors", "TMP/x"], "damaged or no safetensors file"),
        (
            ["hf://one", "TMP/x"],
            "hf://one is no address on the Hub; expected hf://owner/repository",
        ),
        (
            ["RUN", "TMP/x.safetensors", "--mean-of", "a"],
            "--mean-of makes vectors for new puzzle identifiers",
        ),
        (["RUN", "TMP/x.safetensors", "--vocab-size", "0"], "0 is not in the range"),
        (
            ["RUN", "TMP/x.safetensors", "--vocab-size", "257"],
            "the converted model: loss_type=stablemax_cross_entropy is for up to 256 tokens",
        ),
        (
            ["RUN", "TMP/x.safetensors", "--data", "TMP/nope"],
            "nope does not exist; expected a data set",
        ),
    ],
)
def test_bad_request_is_one_line_and_leaves_nothing(
    refusal: Refusal, tiny_run: Path, tmp_path: Path, arguments: list[str], message: str
) -> None:
    (tmp_path / "used.safetensors").write_text("mine")
    paths = [
        argument.replace("RUN", str(tiny_run)).replace("TMP", str(tmp_path))
        for argument in arguments
    ]
    assert message in refusal("convert", *paths)
    assert [path.name for path in tmp_path.iterdir()] == ["used.safetensors"]
    assert (tmp_path / "used.safetensors").read_text() == "mine"


def test_force_replaces_the_old_one(hrm: Hrm, tiny_run: Path, tmp_path: Path) -> None:
    (tmp_path / "x.safetensors").write_text("old")
    assert hrm("convert", tiny_run, tmp_path / "x.safetensors", "--force").status == 0
    assert load_model(tmp_path / "x.safetensors").crc32 == load_model(find_model(tiny_run)).crc32


def test_checkpoints_on_the_hub_are_converted_by_name(
    hrm: Hrm, tiny_run: Path, tmp_path: Path, fake_hub: Any, needs_torch: Any
) -> None:
    """Files of the three published repositories, small ones with their names, sizes and vocabulary."""
    model = load_model(find_model(tiny_run))
    for repository, (vocab_size, seq_len) in PUBLISHED.items():
        config = model.config.model_copy(
            update={"vocab_size": vocab_size, "seq_len": seq_len, "pos_encodings": "rope"}
        )
        weights = {
            name: array for name, array in model.weights.items() if not name.startswith("embed_pos")
        }
        weights |= {
            name: np.ones((vocab_size, 32), np.float32)
            for name in ("embed_tokens.embedding_weight", "lm_head.weight")
        }
        save_model(tmp_path / "x.safetensors", config, "", weights)
        folder = tmp_path / "served" / "sapientinc" / repository
        assert hrm("convert", tmp_path / "x.safetensors", folder, "--to", "official").status == 0
        fake_hub.files |= {
            f"sapientinc/{repository}:{file.name}": file.read_bytes() for file in folder.iterdir()
        }
        del fake_hub.files[f"sapientinc/{repository}:hrm.json"]  # published repositories have none
    command = [sys.executable, "-c", CONVERT_ALL, str(tmp_path), *PUBLISHED, "nope"]
    ran = subprocess.run(
        command,
        env=fake_hub.environment,
        capture_output=True,
        text=True,
        check=False,
        cwd=Path(__file__).parents[2],
    )
    assert (ran.returncode, len(ran.stderr.splitlines())) == (2, 1), ran.stderr
    assert "sapientinc/nope" in ran.stderr
    for line, (repository, shape) in zip(ran.stdout.splitlines(), PUBLISHED.items(), strict=True):
        report = json.loads(line)
        assert (report["config"]["vocab_size"], report["config"]["seq_len"]) == shape
        assert (
            report["task"] == repository.removeprefix("HRM-checkpoint-").partition("-")[0].lower()
        )
        assert load_model(find_model(tmp_path / repository)).config.vocab_size == shape[0]


def test_converting_loads_no_backend(tiny_run: Path, tmp_path: Path) -> None:
    program = f"""
import sys
from hrm_cli.main import main
sys.argv = ["hrm", "convert", {str(tiny_run)!r}, {str(tmp_path / "x.safetensors")!r}]
assert main() == 0
sys.exit(bool({{"mlx", "torch", "huggingface_hub"}} & set(sys.modules)))
"""
    ran = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        check=False,
        cwd=Path(__file__).parents[2],
    )
    assert ran.returncode == 0, ran.stderr
