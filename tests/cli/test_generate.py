"""`hrm generate` and what else a model of text is asked, from a data set to a file alone."""

import contextlib
import io
import json
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from subprocess import PIPE
from typing import Any

import numpy as np
import pytest

import hrm_mlx
from hrm_core.data.store import Dataset
from hrm_core.errors import PuzzleError
from hrm_core.runs.checkpoint import find_model, load_model, save_model

TINY = """\
model:
  puzzle_emb_ndim: 0
  H_cycles: 1
  L_cycles: 1
  H_layers: 1
  L_layers: 1
  hidden_size: 16
  num_heads: 2
  halt_max_steps: 2
  halting: fixed
  attention: {attention}
  loss_type: softmax_cross_entropy
  forward_dtype: float32
optim: {{lr: 1.0e-2, lr_warmup_steps: 2, lr_min_ratio: 0.1, weight_decay: 0.1, puzzle_emb_lr: 1.0e-2}}
train: {{global_batch_size: 8, epochs: 40, eval_interval: 20, max_updates: {updates}, report_every: 10}}
"""
VERSE = "To be, or not to be: that is the question.\n"
WORDS = VERSE.split()
Hrm = Callable[..., Any]
Refusal = Callable[..., str]


def write_words(path: Path) -> Path:
    """Write words of a verse in an order that does not repeat, and every character of it."""
    rng = np.random.default_rng(0)
    path.write_text(VERSE + " ".join(rng.choice(WORDS, 200)))
    return path


def trained(hrm: Hrm, folder: Path, *data: str | Path, attention: str, updates: int) -> Path:
    """Build a data set, train on it, and return the run beside it."""
    config = folder / "tiny.yaml"
    config.write_text(TINY.format(attention=attention, updates=updates))
    for arguments in (
        ("data", "text", folder / "data", *data, "--seq-len", "16"),
        ("train", config, "--data", folder / "data", "--run", folder / "run", "--device", "cpu"),
    ):
        outcome = hrm(*arguments)
        assert outcome.status == 0, outcome.err
    return folder / "run"


@pytest.fixture(scope="module")
def run(hrm: Hrm, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model of characters."""
    folder = tmp_path_factory.mktemp("text")
    return trained(hrm, folder, write_words(folder / "verse.txt"), attention="causal", updates=40)


@pytest.fixture(scope="module")
def byte_pairs(hrm: Hrm, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model of learned byte pairs."""
    pytest.importorskip("tokenizers", reason="tokenizers is missing: byte pairs are not tested")
    folder = tmp_path_factory.mktemp("pairs")
    arguments = write_words(folder / "verse.txt"), "--train-bpe", "280"
    return trained(hrm, folder, *arguments, attention="causal", updates=10)


@pytest.fixture(scope="module")
def looks_ahead(run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model of characters with full attention, as others may have made it."""
    path = tmp_path_factory.mktemp("full") / "model.safetensors"
    model = load_model(find_model(run))
    config = model.config.model_copy(update={"attention": "full"})
    save_model(path, config, model.task, model.weights, model.files)
    return path


def text_of(outcome: Any) -> str:
    assert outcome.status == 0, outcome.err
    return str(outcome.out)


def test_a_model_of_text_is_not_trained_to_read_its_answers(
    hrm: Hrm, refusal: Refusal, tmp_path: Path
) -> None:
    config = tmp_path / "full.yaml"
    config.write_text(TINY.format(attention="full", updates=2))
    data, verse = tmp_path / "data", write_words(tmp_path / "verse.txt")
    assert hrm("data", "text", data, verse, "--seq-len", "16").status == 0
    message = refusal("train", config, "--data", data, "--run", tmp_path / "run")
    assert "would read the token it is to predict; set model.attention=causal" in message
    assert not (tmp_path / "run").exists()


class TestText:
    def test_it_goes_to_stdout_and_figures_to_stderr(self, hrm: Hrm, run: Path) -> None:
        outcome = hrm("generate", run, "-p", "To be", "-m", 30)
        assert len(text_of(outcome)) == 31
        assert outcome.out.endswith("\n")
        assert outcome.err.startswith("prompt: 5 tokens in ")
        assert "generated: 30 tokens, " in outcome.err
        assert "tokens/s; peak memory: " in outcome.err
        assert outcome.err.endswith(" GiB; stateless\n")

    def test_json_holds_text_tokens_and_figures(self, hrm: Hrm, run: Path) -> None:
        text = text_of(hrm("generate", run, "-p", "To be", "-m", 20))
        record = json.loads(text_of(hrm("generate", run, "-p", "To be", "-m", 20, "--json")))
        assert record["text"] + "\n" == text
        assert (record["prompt"], record["generated_tokens"]) == ("To be", 20)
        assert len(record["tokens"]) == len(record["log_probabilities"]) == 20
        assert (record["finish"], record["mode"]) == ("length", "stateless")
        assert 0 not in record["tokens"]

    def test_stdin_is_a_prompt(self, hrm: Hrm, run: Path) -> None:
        expected = text_of(hrm("generate", run, "-p", "To be, or", "-m", 9))
        assert text_of(hrm("generate", run, "-p", "-", "-m", 9, stdin="To be, or")) == expected

    def test_seeds_repeat(self, hrm: Hrm, run: Path) -> None:
        drawn = [
            text_of(hrm("generate", run, "-p", "T", "-m", 40, "--temp", 1.5, "--seed", seed))
            for seed in (1, 1, 2)
        ]
        assert drawn[0] == drawn[1] != drawn[2]

    def test_several_prompts_come_one_after_the_other(
        self, hrm: Hrm, run: Path, tmp_path: Path
    ) -> None:
        file = tmp_path / "prompts.txt"
        file.write_bytes("\ufeffTo\r\n\nbe: \n".encode())
        out = text_of(hrm("generate", run, "-p", "or", "--prompts", file, "-m", 3))
        alone = [
            text_of(hrm("generate", run, "-p", each, "-m", 3)) for each in ("or", "To", "be: ")
        ]
        headings = ["[1 of 3] or\n", "\n[2 of 3] To\n", "\n[3 of 3] be: \n"]
        assert out == "".join(map("".join, zip(headings, alone, strict=True)))
        lines = text_of(hrm("generate", run, "--prompts", file, "-m", 3, "--json")).splitlines()
        assert [json.loads(line)["prompt"] for line in lines] == ["To", "be: "]

    def test_stateful_is_called_an_experiment(self, hrm: Hrm, run: Path) -> None:
        outcome = hrm("generate", run, "-p", "To be", "-m", 5, "--stateful")
        assert len(text_of(outcome)) == 6
        assert outcome.err.endswith("; stateful, an experiment\n")

    def test_both_backends_say_the_same(self, hrm: Hrm, run: Path) -> None:
        pytest.importorskip("torch", reason="torch is missing: the PyTorch reference is not tested")
        asked = "generate", run, "-p", "To be", "-m", 40, "--device", "cpu"
        assert text_of(hrm(*asked)) == text_of(hrm(*asked, "--backend", "torch"))


class TestTop:
    def test_it_prints_the_likeliest_next_tokens(self, hrm: Hrm, run: Path) -> None:
        out = text_of(hrm("generate", run, "-p", "To be", "--top", 3))
        assert out.startswith('After "To be"\n')
        assert len([line for line in out.splitlines() if line.rstrip().endswith("%")]) == 3

    def test_json_has_all_probabilities(self, hrm: Hrm, run: Path) -> None:
        out = text_of(hrm("generate", run, "-p", "To be", "--top", 999, "--json"))
        record = json.loads(out)
        assert record["prompt"] == "To be"
        assert len(record["top"]) == len(set(VERSE))  # padding is none
        shares = [row["probability"] for row in record["top"]]
        assert shares == sorted(shares, reverse=True)
        assert 0.95 < sum(shares) <= 1.00001
        first = text_of(hrm("generate", run, "-p", "To be", "-m", 1))
        assert record["top"][0]["text"] + "\n" == first


class TestRefused:
    @pytest.mark.parametrize(
        ("arguments", "expected"),
        [
            ((), 'no prompt is given; name one, e.g. -p "Once upon a time"'),
            (("-p", ""), "prompt '': the prompt is empty; give at least one character to go on"),
            (
                ("-p", "a\nß"),
                r"prompt 'a\nß': line 2: the character 'ß' (U+00DF) is not among the 18",
            ),
            (("-p", "To", "-p", "ß"), "prompt 'ß': line 1: the character 'ß' (U+00DF) is not"),
            (("-p", "To", "--temp", "nan"), "temperature=nan is out of range; give 0 or a"),
            (("-p", "To", "--temp", "-1"), "Invalid value for '--temp': -1.0 is not in the range"),
            (("-p", "To", "--top-p", "0"), "Invalid value for '--top-p'"),
            (("-p", "To", "--top-p", "nan"), "top_p=nan is out of range"),
            (("-p", "To", "-m", "0"), "Invalid value for '--max-tokens' / '-m'"),
            (("-p", "To", "--top", "2", "--stateful"), "--top asks about each prompt alone"),
        ],
    )
    def test_what_cannot_be_generated_is_named(
        self, refusal: Refusal, run: Path, arguments: tuple[str, ...], expected: str
    ) -> None:
        assert refusal("generate", run, *arguments).startswith(expected)

    def test_prompt_files_that_cannot_be_read_are_named(
        self, refusal: Refusal, run: Path, tmp_path: Path
    ) -> None:
        path = tmp_path / "prompts.txt"
        assert refusal("generate", run, "--prompts", path).startswith(f"{path} cannot be read: No")
        path.write_bytes(b"To\nb\xff")
        assert refusal("generate", run, "--prompts", path).startswith(
            f"{path} is not UTF-8: byte 0xff at 4"
        )
        path.write_bytes(b"\n\n")
        assert refusal("generate", run, "--prompts", path).startswith("no prompt is given")

    def test_stdin_that_is_not_utf_8_is_refused(
        self, refusal: Refusal, run: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        stdin = io.TextIOWrapper(io.BytesIO(b"To b\xff"), encoding="utf-8")
        monkeypatch.setattr(
            io, "StringIO", lambda text="": stdin if text == "bytes" else REAL(text)
        )
        message = refusal("generate", run, "-p", "-", stdin="bytes")
        assert message == "stdin is not UTF-8: byte 4; convert it"

    def test_models_of_other_tasks_and_such_as_look_ahead_are_named(
        self, refusal: Refusal, tiny_run: Path, looks_ahead: Path
    ) -> None:
        assert refusal("generate", tiny_run, "-p", "a") == (
            "sudoku is no task of text; hrm generate goes on with texts"
        )
        assert refusal("generate", looks_ahead, "-p", "To").startswith(
            "this model has attention=full, num_chunks=1; text is generated with causal or prefix"
        )


REAL = io.StringIO


def interrupted(process: "subprocess.Popen[bytes]") -> bytes:
    """Interrupt a process as a user does, once more if an extension swallowed it; return its stderr."""
    for _ in range(5):
        process.send_signal(signal.SIGINT)
        with contextlib.suppress(subprocess.TimeoutExpired):
            return process.communicate(timeout=20)[1]
    raise AssertionError("five interrupts did not end it")


class TestProcess:
    def command(self, run: Path, *more: str) -> list[str]:
        main = [sys.executable, "-m", "hrm_cli", "generate", str(run)]
        return [*main, "-p", "To be", "--device", "cpu", *more]

    def test_a_pipe_that_closes_is_no_error(self, run: Path) -> None:
        command = self.command(run, "-m", "4000")
        with subprocess.Popen(command, stdout=PIPE, stderr=PIPE) as process:
            assert process.stdout is not None
            assert process.stderr is not None
            assert len(process.stdout.read(5)) == 5
            process.stdout.close()
            assert process.stderr.read() == b""
            assert process.wait(60) == 0

    def test_an_interrupt_ends_with_130_after_the_text_so_far(self, run: Path) -> None:
        _, _, _, *arguments = self.command(run, "-m", "1000000")
        # a shell in the background has it ignored
        heard = "signal.signal(signal.SIGINT, signal.default_int_handler)"
        code = f"import signal, sys; {heard}; from hrm_cli.main import main; sys.exit(main())"
        command = [sys.executable, "-c", code, *arguments]
        with subprocess.Popen(command, stdout=PIPE, stderr=PIPE) as process:
            assert process.stdout is not None
            assert len(process.stdout.read(5)) == 5
            errors = interrupted(process)
        assert (process.returncode, errors) == (130, b"\nhrm: interrupted\n")


class TestPython:
    def test_generate_is_an_iterator(self, hrm: Hrm, run: Path) -> None:
        model = hrm_mlx.load(run)
        pieces = model.generate("To be", max_tokens=20)
        assert iter(pieces) is pieces
        expected = text_of(hrm("generate", run, "-p", "To be", "-m", 20))
        assert next(pieces) + "".join(pieces) + "\n" == expected

    def test_what_cannot_be_generated_is_an_error(self, run: Path, tiny_run: Path) -> None:
        with pytest.raises(PuzzleError, match="sudoku is no task of text"):
            next(hrm_mlx.load(tiny_run).generate("a"))
        with pytest.raises(PuzzleError, match="the character 'ß'"):
            next(hrm_mlx.load(run).generate("ß"))


class TestTravel:
    @pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
    def test_a_tokenizer_goes_from_data_to_a_file_alone(
        self, hrm: Hrm, byte_pairs: Path, tmp_path: Path, dtype: str
    ) -> None:
        asked = "-p", "To be, or", "-m", 12, "--temp", 0.7, "--device", "cpu"
        expected = text_of(hrm("generate", byte_pairs, *asked))
        data = byte_pairs.parent / "data"
        text = (data / "tokenizer.json").read_text(encoding="utf-8")
        assert load_model(find_model(byte_pairs)).files == {"tokenizer.json": text}
        copy, file = tmp_path / "run", tmp_path / "alone.safetensors"
        shutil.copytree(byte_pairs, copy)
        hidden = data.rename(data.with_name("gone"))
        try:
            outcome = hrm("convert", copy, file, "--dtype", dtype)
            assert outcome.status == 0, outcome.err
            shutil.rmtree(copy)
            found = text_of(hrm("generate", file, *asked))
            top = json.loads(text_of(hrm("generate", file, "-p", "To", "--top", 2, "--json")))
        finally:
            hidden.rename(data)
        assert load_model(file).files == {"tokenizer.json": text}
        if dtype == "float32":
            assert found == expected
        assert len(top["top"]) == 2

    def test_an_empty_prompt_of_byte_pairs_begins_a_text(self, hrm: Hrm, byte_pairs: Path) -> None:
        outcome = hrm("generate", byte_pairs, "-p", "", "-m", 3, "--json")
        assert json.loads(text_of(outcome))["prompt_tokens"] == 1

    def test_another_tokenizer_than_the_models_is_refused(
        self, refusal: Refusal, byte_pairs: Path, hrm: Hrm, tmp_path: Path
    ) -> None:
        data = (
            "data",
            "text",
            tmp_path / "data",
            write_words(tmp_path / "verse.txt"),
            "--seq-len",
            16,
        )
        outcome = hrm(*data, "--train-bpe", "263")
        assert outcome.status == 0, outcome.err
        message = refusal("eval", byte_pairs, "--data", tmp_path / "data")
        assert "does not fit" in message
        assert "vocab_size=" in message

    def test_a_data_set_without_its_tokenizer_is_named(
        self, refusal: Refusal, byte_pairs: Path, tmp_path: Path
    ) -> None:
        folder = byte_pairs.parent
        shutil.copytree(folder / "data", tmp_path / "data")
        (tmp_path / "data" / "tokenizer.json").unlink()
        run = "--data", tmp_path / "data", "--run", tmp_path / "run"
        message = refusal("train", folder / "tiny.yaml", *run)
        assert message.startswith(f"{tmp_path / 'data' / 'tokenizer.json'} ")


class TestEvaluation:
    def test_stateful_stands_beside_the_result(self, hrm: Hrm, run: Path) -> None:
        outcome = hrm("eval", run, "--stateful", "--limit", 4)
        out = text_of(outcome)
        assert "Stateful, an experiment: the carry is kept while the text grows; 4 windows" in out
        assert "difference ± standard error" in out
        assert outcome.err == ""
        record = json.loads(text_of(hrm("eval", run, "--stateful", "--limit", 4, "--json")))
        assert record["stateful"]["count"] == 4
        assert record["stateful"]["bits_stateless"] == pytest.approx(record["bits"])

    def test_the_number_of_windows_is_said_if_nobody_chose_it(self, hrm: Hrm, run: Path) -> None:
        outcome = hrm("eval", run, "--stateful", "--json")
        count = json.loads(text_of(outcome))["stateful"]["count"]
        assert outcome.err == (
            f"stateful: measured on the first {count} windows; --limit takes others\n"
        )

    def test_what_has_no_stateful_way_is_refused(
        self, refusal: Refusal, run: Path, tiny_run: Path, looks_ahead: Path
    ) -> None:
        assert refusal("eval", tiny_run, "--stateful") == (
            "--stateful is for models of text, this one is sudoku; leave it out"
        )
        data = "--data", run.parent / "data"
        assert refusal("eval", looks_ahead, *data, "--stateful").startswith(
            "--stateful needs causal or prefix attention, fixed halting and one chunk; this model "
            "has attention=full"
        )
        for clash in (("--steps", "3"), ("--noise", "0.1"), ("--halt", "both"), (str(run),)):
            message = refusal("eval", run, "--stateful", *clash)
            assert message.startswith("--stateful measures one model as it generates; leave out")

    def test_text_has_no_pictures(self, refusal: Refusal, run: Path, tmp_path: Path) -> None:
        sheet = tmp_path / "sheet.png"
        data = run.parent / "data"
        for command in (("eval", run, "--sheet"), ("data", "inspect", data, "--sheet")):
            message = refusal(*command, sheet)
            assert message.endswith("is of no task that can be drawn; leave out pictures")
        assert not sheet.exists()

    def test_curves_show_bits_per_character(self, hrm: Hrm, run: Path, tmp_path: Path) -> None:
        pytest.importorskip("matplotlib", reason="matplotlib is missing: curves are not tested")
        assert hrm("plot", run, "--out", tmp_path / "curves.png").status == 0
        assert (tmp_path / "curves.png").stat().st_size > 10_000

    def test_the_checkpoint_of_the_fewest_bits_is_the_best(self, run: Path) -> None:
        log = [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]
        bits = [record["bits"] for record in log if record["kind"] == "eval"]
        states = sorted((run / "checkpoints").glob("*/state.json"))
        best = json.loads(states[-1].read_text())["best"]
        assert best["bits"] == min(bits)


def test_of_a_large_vocabulary_the_most_frequent_tokens_are_listed(
    hrm: Hrm, data_dir: Path, tmp_path: Path
) -> None:
    pytest.importorskip("tokenizers", reason="tokenizers is missing: byte pairs are not tested")
    folder = data_dir / "text"
    book, roberta = folder / "gutenberg_test_time_machine.txt", folder / "roberta"
    if not roberta.is_dir():
        pytest.skip(f"{roberta} is missing: its tokenizer is not tested")
    out = tmp_path / "data"
    built = hrm("data", "text", out, book, "--tokenizer", roberta, "--seq-len", 127)
    assert built.status == 0, built.err
    listed = [
        line for line in text_of(hrm("data", "inspect", out)).splitlines() if " input" in line
    ]
    counts = np.bincount(Dataset(out).split("train").sets["all"].inputs.reshape(-1))
    most = int(counts.argmax())
    assert listed[0].startswith(f"    input tokens  {most}: {counts[most]:,}  ")
    assert listed[0].endswith(f"  and {np.count_nonzero(counts) - 10:,} others")
    assert all(len(line) < 200 for line in listed)
