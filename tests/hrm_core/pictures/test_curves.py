"""Logs and curves."""

import json
import os
import sys

import numpy as np
import pytest
from PIL import Image, ImageColor

from hrm_core.errors import BackendError, DataError, HRMError, RunError
from hrm_core.pictures.curves import RUN_COLOURS, SIZE, plot_runs, read_log


def train_line(update):
    share = update / 1000
    return {
        "kind": "train",
        "update": update,
        "lm_loss": 1.2 - share,
        "accuracy": share,
        "exact_accuracy": share**2,
        "steps": 4 - share,
    }


def eval_line(update, split="test"):
    return {
        "kind": "eval",
        "update": update,
        "split": split,
        "lm_loss": 1.0,
        "accuracy": 0.6,
        "exact_accuracy": 0.5,
        "count": 512,
    }


@pytest.fixture
def make_run(tmp_path):
    """Write a run directory with these lines in its log."""

    def make(name, lines):
        (tmp_path / name).mkdir(parents=True)
        (tmp_path / name / "log.jsonl").write_text(
            "".join(json.dumps(line) + "\n" for line in lines)
        )
        return tmp_path / name

    return make


def has_colour(path, colour):
    """Whether a picture holds a colour exactly."""
    with Image.open(path) as image:
        return bool(
            (np.array(image.convert("RGB")) == ImageColor.getrgb(colour)).all(axis=-1).any()
        )


def key_width(run, path):
    """How wide the key below the curves of one run is, in pixels."""
    plot_runs([run], path)
    with Image.open(path) as image:
        key = np.array(image.convert("L"))[SIZE[1] * 19 // 20 :]
    return np.ptp(np.nonzero((key < 200).any(axis=0))[0])


def test_log_is_read_in_order_without_other_kinds(make_run):
    run = make_run(
        "a", [{"kind": "start"}, train_line(100), eval_line(100), {"kind": "save"}, train_line(200)]
    )
    assert read_log(run / "log.jsonl") == [train_line(100), eval_line(100), train_line(200)]


def test_last_line_cut_short_is_left_out(make_run):
    log = make_run("a", [train_line(100), train_line(200)]) / "log.jsonl"
    log.write_bytes(log.read_bytes()[:-9])
    assert read_log(log) == [train_line(100)]


@pytest.mark.parametrize(
    "damage", [b'{"kind": "tr', b"\xff\xfe", b"[1, 2]", b""], ids=["cut", "bytes", "list", "empty"]
)
def test_damaged_line_is_named(make_run, damage):
    log = make_run("a", [train_line(100), train_line(200)]) / "log.jsonl"
    first, second = log.read_bytes().splitlines()
    log.write_bytes(b"\n".join([first, damage, second]))
    with pytest.raises(DataError, match=r"log\.jsonl:2: not a JSON object"):
        read_log(log)


NESTED = "[" * 200_000 + "]" * 200_000
MISTYPED = [
    f'{{"kind": "train", "update": 150, "lm_loss": {NESTED}}}',
    f'{{"kind": "train", "update": {10**400}, "lm_loss": 1}}',
    '{"kind": "train", "update": NaN, "lm_loss": 1}',
    '{"kind": "train", "update": -1, "lm_loss": 1}',
    '{"kind": "train", "update": [1], "lm_loss": 1}',
    '{"kind": "train", "update": true, "lm_loss": 1}',
    '{"kind": "train", "update": 150, "lm_loss": "abc"}',
    '{"kind": "train", "update": 150, "steps": null}',
    '{"kind": "train", "update": 150, "count": "0", "steps": 1}',
    '{"kind": "eval", "update": 150, "split": 5, "lm_loss": 1}',
    '{"kind": "eval", "update": 150, "split": [1], "lm_loss": 1}',
]


@pytest.mark.parametrize("damage", MISTYPED, ids=lambda text: text[-40:])
def test_line_with_a_field_of_another_type_is_damaged(make_run, damage):
    log = make_run("a", [train_line(100), train_line(200)]) / "log.jsonl"
    first, second = log.read_text().splitlines()
    log.write_text(f"{first}\n{damage}\n{second}\n")
    with pytest.raises(DataError, match=r"log\.jsonl:2: not a JSON object as training writes it"):
        read_log(log)
    log.write_text(f"{first}\n{second}\n{damage}\n")
    assert read_log(log) == [train_line(100), train_line(200)], (
        "the last line is left out, as one cut short is"
    )


@pytest.mark.parametrize(
    "text", ["", '{"kind": "train", "upd', '{"kind": "start"}\n'], ids=["empty", "cut", "no report"]
)
def test_log_without_a_report_is_refused(tmp_path, text):
    (tmp_path / "log.jsonl").write_text(text)
    with pytest.raises(RunError, match="holds no report yet"):
        read_log(tmp_path / "log.jsonl")


def test_missing_log_is_refused(tmp_path):
    with pytest.raises(RunError, match=r"cannot read .*log\.jsonl: No such file"):
        read_log(tmp_path / "log.jsonl")


class TestPlot:
    """What needs matplotlib."""

    @pytest.fixture(autouse=True)
    def _matplotlib(self):
        pytest.importorskip("matplotlib", reason="matplotlib is not installed")

    def test_every_run_has_its_colour(self, make_run, tmp_path):
        runs = [
            make_run(name, [train_line(update) for update in range(100, 1000, 100)])
            for name in "abc"
        ]
        for run, offset in zip(runs, (0.0, 0.1, 0.2), strict=True):
            lines = [
                {**train_line(update), "lm_loss": 1 - update / 2000 + offset}
                for update in range(100, 1000, 100)
            ]
            (run / "log.jsonl").write_text(
                "".join(json.dumps(line) + "\n" for line in [*lines, eval_line(500)])
            )
        plot_runs(runs, tmp_path / "curves.png")
        with Image.open(tmp_path / "curves.png") as image:
            assert image.size == SIZE
        assert [has_colour(tmp_path / "curves.png", colour) for colour in RUN_COLOURS[:4]] == [
            True,
            True,
            True,
            False,
        ]

    def test_more_runs_than_colours_differ_in_their_lines(self, make_run, tmp_path):
        """The eighth run has the colour of the first; of its line, dashed, less is to be seen."""
        lines = [train_line(update) for update in range(100, 1000, 100)]
        flat = [
            {**line, "lm_loss": 0, "accuracy": 0, "exact_accuracy": 0, "steps": 0} for line in lines
        ]
        runs = [make_run(str(number), flat) for number in range(7)]
        shown = []
        for chosen in ([make_run("first", lines), *runs], [*runs, make_run("last", lines)]):
            plot_runs(chosen, tmp_path / "curves.png")
            with Image.open(tmp_path / "curves.png") as image:
                panels = np.array(image.convert("RGB"))[: SIZE[1] * 4 // 10]
            shown.append((panels == ImageColor.getrgb(RUN_COLOURS[0])).all(axis=-1).sum())
        assert 0 < shown[1] < 0.9 * shown[0]

    def test_highest_marker_is_not_cut(self, make_run, tmp_path):
        lines = [{**eval_line(update), "steps": 8} for update in (100, 200)]
        plot_runs([make_run("a", [train_line(50), *lines])], tmp_path / "curves.png")
        with Image.open(tmp_path / "curves.png") as image:
            steps = np.array(image.convert("RGB"))[SIZE[1] // 2 : SIZE[1] * 9 // 10, SIZE[0] // 2 :]
        rows, columns = np.nonzero((steps == ImageColor.getrgb(RUN_COLOURS[0])).all(axis=-1))
        marker = columns > columns.max() - 30
        assert np.ptp(rows[marker]) + 1 >= np.ptp(columns[marker]) - 1, (
            "the last marker is as high as it is wide"
        )

    @pytest.mark.parametrize("line", [train_line(100), eval_line(100)], ids=["train", "eval"])
    def test_a_single_report_is_visible(self, make_run, tmp_path, line):
        plot_runs([make_run("a", [line])], tmp_path / "curves.png")
        with Image.open(tmp_path / "curves.png") as image:
            panels = np.array(image.convert("RGB"))[
                : SIZE[1] * 9 // 10
            ]  # without the key below them
        assert (panels == ImageColor.getrgb(RUN_COLOURS[0])).all(axis=-1).any()

    def test_runs_of_the_same_name_are_both_drawn(self, make_run, tmp_path):
        runs = [make_run("one/run", [train_line(100)]), make_run("two/run", [train_line(200)])]
        plot_runs(runs, tmp_path / "curves.png")
        assert all(has_colour(tmp_path / "curves.png", colour) for colour in RUN_COLOURS[:2])

    def test_several_splits_and_values_that_are_not_finite_are_drawn(self, make_run, tmp_path):
        lines = [
            train_line(100),
            {**train_line(200), "lm_loss": float("nan")},
            eval_line(200),
            eval_line(200, "train"),
        ]
        plot_runs([make_run("a", lines)], tmp_path / "curves.png")
        assert has_colour(tmp_path / "curves.png", RUN_COLOURS[0])

    def test_slots_that_did_not_halt_leave_only_a_loss(self, make_run, tmp_path):
        """A report of no halted slot has zeros that are no measurements."""
        nothing = {"accuracy": 0.0, "exact_accuracy": 0.0, "steps": 0.0}
        middles = [
            train_line(200) | nothing | {"count": 0.0},
            {"kind": "train", "update": 200, "lm_loss": 1.0},
            train_line(200) | nothing,
        ]
        pictures = []
        for number, middle in enumerate(middles):
            plot_runs(
                [make_run(f"{number}/a", [train_line(100), middle, train_line(300)])],
                tmp_path / "curves.png",
            )
            pictures.append((tmp_path / "curves.png").read_bytes())
        assert pictures[0] == pictures[1] != pictures[2]

    def test_dollar_signs_in_names_are_shown(self, make_run, tmp_path):
        """As they are wider than dashes; a formula would have neither."""
        dollars, dashes = (
            key_width(make_run(name, [train_line(100)]), tmp_path / "curves.png")
            for name in ("a$b$c", "a-b-c")
        )
        assert dollars > dashes

    @pytest.mark.parametrize("name", [r"a$\foo$", os.fsdecode(b"a\xff"), "_a"])
    def test_run_whose_name_is_no_plain_word_is_drawn(self, make_run, tmp_path, name):
        try:
            run = make_run(name, [train_line(100), eval_line(100, "\ud800$x^$")])
        except OSError:
            pytest.skip("this file system has only names in Unicode")
        plot_runs([run], tmp_path / "curves.png")
        assert has_colour(tmp_path / "curves.png", RUN_COLOURS[0])

    def test_picture_that_cannot_be_written_is_one_clear_line(self, make_run, tmp_path):
        with pytest.raises(HRMError, match=r"cannot write .*missing"):
            plot_runs([make_run("a", [train_line(100)])], tmp_path / "missing" / "curves.png")

    def test_other_missing_package_keeps_its_traceback(self, make_run, tmp_path, monkeypatch):
        monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
        with pytest.raises(ModuleNotFoundError):
            plot_runs([make_run("a", [train_line(100)])], tmp_path / "curves.png")


class NothingToFind:
    """A machine without packages."""

    @staticmethod
    def find_spec(name, path=None, target=None):
        return None


def test_missing_matplotlib_is_said_with_the_way_out(make_run, tmp_path, monkeypatch):
    for name in [name for name in sys.modules if name.partition(".")[0] == "matplotlib"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setattr(sys, "meta_path", [NothingToFind])
    with pytest.raises(BackendError, match=r"pip install '\.\[plot\]' in a checkout"):
        plot_runs([make_run("a", [train_line(100)])], tmp_path / "curves.png")
