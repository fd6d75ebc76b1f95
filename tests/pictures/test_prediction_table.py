"""Predictions as CSV: `hrm eval --save-predictions FILE.csv`."""

import csv
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from made import task_of, write_pictures
from test_comparison import guessed

from hrm_core.data.store import Dataset
from hrm_core.tasks.picture_scores import rank_scores


def read(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_the_table_holds_what_the_evaluation_measured(
    trained: Any, hrm: Callable[..., Any], tmp_path: Path
) -> None:
    out = tmp_path / "p.csv"
    status, printed, err = hrm("eval", trained.run, "--json", "--save-predictions", out)
    assert status == 0, err
    rows = read(out)
    assert [row["file"] for row in rows] == [f"test/{number:03d}.png" for number in range(40)]
    assert [row["patient"] for row in rows[:3]] == ["test0", "test0", "test1"]
    measured = json.loads(printed)["labels"]
    for label, name in enumerate(trained.task.labels):
        truth = [row[f"{name} true"] for row in rows]
        expected = trained.drawn["test"].targets[:, label]
        assert truth == ["" if value < 0 else str(value) for value in expected]
        known = expected >= 0
        chances = np.array([float(row[name]) for row in rows])[known]
        ranks = rank_scores(chances, expected[known] == 1, np.ones((len(chances), 1)))
        value = measured[name]["auroc"]["network"]["value"]
        assert ranks.auroc[0] == pytest.approx(value, abs=1e-9)


def test_a_picture_has_one_line_whatever_its_copies(
    trained: Any, hrm: Callable[..., Any], tmp_path: Path
) -> None:
    out = tmp_path / "train.CSV"
    command = ["eval", trained.run, "--split", "train", "--limit", 51]
    status, _, err = hrm(*command, "--save-predictions", out)
    assert status == 0, err
    assert [row["file"] for row in read(out)] == [f"train/{number:03d}.png" for number in range(26)]


def test_npz_stays_and_puzzles_have_no_table(
    trained: Any,
    tiny_run: Path,
    hrm: Callable[..., Any],
    refusal: Callable[..., str],
    tmp_path: Path,
) -> None:
    status, _, err = hrm("eval", trained.run, "--save-predictions", tmp_path / "p.npz")
    assert status == 0, err
    with np.load(tmp_path / "p.npz") as arrays:
        assert arrays["answers"].shape == (40, trained.task.seq_len)
    error = refusal("eval", tiny_run, "--save-predictions", tmp_path / "p.csv")
    assert "predictions as .csv are for IMAGES and XRAY" in error
    assert not (tmp_path / "p.csv").exists()


def test_labels_with_commas_are_read_back(tmp_path: Path) -> None:
    from hrm_core.inference.evaluation import save_table

    task = task_of("images", labels=("a, b", 'c "d"'), exclusive=True)
    made = write_pictures(tmp_path / "data", task, num_train=4, num_test=6)
    data = Dataset(tmp_path / "data")
    table = task.prediction_table(data, data.split("test"), guessed(task, made["test"].targets))
    save_table(tmp_path / "p.csv", table)
    rows = read(tmp_path / "p.csv")
    assert [int(row["a, b true"]) for row in rows] == made["test"].targets[:, 0].tolist()
    sums = [float(row["a, b"]) + float(row['c "d"']) for row in rows]
    np.testing.assert_allclose(sums, 1, atol=1e-6)
