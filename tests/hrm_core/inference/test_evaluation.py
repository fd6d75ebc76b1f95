from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hrm_core.backend import BackendOptions, Batch, Replica
from hrm_core.config import DataSizes, ModelConfig
from hrm_core.data.store import load_split
from hrm_core.errors import DataError
from hrm_core.inference.evaluation import (
    InferenceOptions,
    StepAnswers,
    answer_step_by_step,
    check_fits,
    evaluate,
    num_examples,
    save_predictions,
)
from hrm_core.inference.slots import Halt
from hrm_core.runs.checkpoint import find_model, load_model
from hrm_core.tasks.cells import measure_cells
from hrm_core.tasks.predictions import joined
from hrm_mlx.answers import Answers
from hrm_mlx.backend import MLXBackend
from hrm_tasks.sudoku.task import Sudoku


@pytest.fixture(scope="module")
def backend(tiny_run: Path) -> MLXBackend:
    model = load_model(find_model(tiny_run))
    backend = MLXBackend(model.config, BackendOptions(device="cpu"))
    backend.load_weights(model.weights)
    return backend


def test_settled_step_is_the_one_after_which_nothing_changes() -> None:
    answers = np.array(
        [[[1], [1], [1], [2], [1]], [[1], [2], [1], [1], [2]], [[1], [2], [2], [1], [1]]]
    )
    assert StepAnswers(
        answers, np.zeros((3, 5), np.float32), np.full(5, 3)
    ).settled_step.tolist() == [
        1,
        2,
        3,
        2,
        3,
    ]
    assert (
        StepAnswers(answers[:1], np.zeros((1, 5), np.float32), np.full(5, 1)).settled_step.tolist()
        == [1] * 5
    )


@pytest.mark.parametrize("batch_size", [1, 7, 20, 64])
def test_padding_of_the_last_batch_counts_for_nothing(
    backend: MLXBackend, tiny_data: Path, batch_size: int
) -> None:
    test = load_split(tiny_data, "test")
    expected, tokens = evaluate(backend, test, Sudoku(4), batch_size=20)
    found, answers = evaluate(backend, test, Sudoku(4), batch_size)
    np.testing.assert_array_equal(answers, tokens)
    assert measure_cells(found) == pytest.approx(measure_cells(expected), rel=1e-6)
    assert measure_cells(found)["count"] == num_examples(test) == 20


@pytest.mark.parametrize("halt", ["fixed", "q"])
def test_progress_moves_with_every_act_step_and_ends_at_the_number_of_puzzles(
    backend: MLXBackend, tiny_data: Path, halt: Halt
) -> None:
    test = load_split(tiny_data, "test")
    told: list[float] = []
    options = InferenceOptions(halt, max_steps=5)
    evaluate(backend, test, Sudoku(4), 20, advance=told.append, options=options)
    assert sum(told) == pytest.approx(20)
    if halt == "fixed":
        assert told == [4.0] * 5


def test_scores_are_those_of_the_answers_counted_by_hand(
    backend: MLXBackend, tiny_data: Path
) -> None:
    test = load_split(tiny_data, "test")
    scores, answers = evaluate(backend, test, Sudoku(4), batch_size=8, limit=13)
    inputs, labels = test.sets["all"].inputs[:13], test.sets["all"].labels[:13]
    found = measure_cells(scores)
    assert (found["count"], num_examples(test, 13)) == (13, 13)
    assert found["exact_accuracy"] == pytest.approx((answers == labels).all(axis=1).mean())
    assert found["accuracy"] == pytest.approx((answers == labels).mean())
    assert found["blank_accuracy"] == pytest.approx((answers == labels)[inputs == 1].mean())
    assert scores.ratings.tolist() == test.sets["all"].ratings[:13].tolist()


def test_evaluation_fetches_no_logits(
    backend: MLXBackend, tiny_data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fetched(answers: Answers) -> None:
        raise AssertionError("all logits crossed to the host")

    monkeypatch.setattr(Answers, "logits", property(fetched))
    test = load_split(tiny_data, "test")
    scores, _ = evaluate(backend, test, Sudoku(4), batch_size=8)
    assert (scores.lm_loss > 0).all()
    answer_step_by_step(backend, test.sets["all"].inputs, np.zeros(20, np.int32), halt="q")


def test_thoughts_end_where_evaluation_ends(backend: MLXBackend, tiny_data: Path) -> None:
    test = load_split(tiny_data, "test")
    scores, answers = evaluate(backend, test, None, batch_size=20)
    path = answer_step_by_step(
        backend, test.sets["all"].inputs, np.zeros(20, np.int32), batch_size=6
    )
    assert path.answers.shape == (2, 20, 16)
    np.testing.assert_array_equal(path.final, answers)
    np.testing.assert_array_equal(path.settled_step, scores.settled_step)
    np.testing.assert_allclose(path.q_halt_logits[-1], scores.q_halt_logits, rtol=1e-5)


def test_predictions_are_read_back_as_they_were(
    backend: MLXBackend, tiny_data: Path, tmp_path: Path
) -> None:
    test = load_split(tiny_data, "test")
    scores, answers = evaluate(backend, test, None, batch_size=8, limit=13)
    save_predictions(tmp_path / "p.npz", test, scores, answers, limit=13)
    with np.load(tmp_path / "p.npz") as saved:
        assert set(saved) == {
            "inputs",
            "labels",
            "answers",
            "q_halt_logits",
            "steps",
            "settled_step",
        }
        np.testing.assert_array_equal(saved["inputs"], test.sets["all"].inputs[:13])
        np.testing.assert_array_equal(saved["labels"], test.sets["all"].labels[:13])
        np.testing.assert_array_equal(saved["answers"], answers)
        np.testing.assert_array_equal(saved["q_halt_logits"], scores.q_halt_logits)
    assert [path.name for path in tmp_path.iterdir()] == ["p.npz"]


def test_steps_by_q_are_known_without_halting_by_q(backend: MLXBackend, tiny_data: Path) -> None:
    test = load_split(tiny_data, "test")
    by_q, _ = evaluate(backend, test, None, 7, options=InferenceOptions(halt="q", max_steps=6))
    fixed, _ = evaluate(backend, test, None, 7, options=InferenceOptions(max_steps=6))
    assert fixed.q_steps is not None
    np.testing.assert_array_equal(fixed.q_steps, by_q.steps)
    assert (fixed.steps == 6).all()
    assert measure_cells(fixed)["q_steps"] == by_q.steps.mean()


def test_only_wanted_examples_are_answered(backend: MLXBackend, tiny_data: Path) -> None:
    test = load_split(tiny_data, "test")
    all_of_them, tokens = evaluate(backend, test, None, 7)
    wanted = np.arange(20) % 3 == 1
    some, answers = evaluate(backend, test, None, 7, wanted=wanted)
    np.testing.assert_array_equal(answers, tokens[wanted])
    np.testing.assert_array_equal(some.num_right, all_of_them.num_right[wanted])


def test_model_of_another_size_is_refused(tiny_data: Path, backend: MLXBackend) -> None:
    test = load_split(tiny_data, "test")
    config = backend.config.sized(backend.config.sizes)
    check_fits(test, config, Path("model"))
    other = ModelConfig.model_validate({**config.model_dump(), **DataSizes(11, 81, 1)._asdict()})
    with pytest.raises(
        DataError,
        match=r"does not fit model: vocab_size=6, expected 11; seq_len=16, expected 81; use the data",
    ):
        check_fits(test, other, Path("model"))


def test_every_slot_is_thought_about_on_its_own(backend: MLXBackend, tiny_data: Path) -> None:
    inputs = load_split(tiny_data, "test").sets["all"].inputs[:6].astype(np.int32)

    def last_logits(rows: np.ndarray) -> np.ndarray:
        carry = backend.begin(Batch(rows, np.full_like(rows, -100), np.zeros(len(rows), np.int32)))
        for _ in range(2):
            carry, answers = backend.step(carry)
        return answers.logits

    np.testing.assert_allclose(
        last_logits(inputs)[2:4], last_logits(inputs[2:4]), rtol=1e-4, atol=1e-5
    )


def test_python_api_solves_in_three_lines(tiny_run: Path, hrm: Callable[..., Any]) -> None:
    import hrm_mlx

    model = hrm_mlx.load(tiny_run)
    (first, second) = model.solve("1... ..2. .3.. ...4\n" * 2)
    assert (str(first), first.accepted) == (
        str(second),
        first.task.accepts(first.question, first.answer),
    )
    assert len(first.frames()) == 3
    outcome = hrm("solve", tiny_run, "1... ..2. .3.. ...4")
    assert outcome.out.startswith(str(first))


def test_a_replica_without_any_puzzle_has_no_scores(
    backend: MLXBackend, tiny_data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    test = load_split(tiny_data, "test")
    whole, tokens = evaluate(backend, test, Sudoku(4), batch_size=80)
    parts = []
    for rank in range(4):
        monkeypatch.setattr(backend, "replica", Replica(rank, 4))
        parts.append(evaluate(backend, test, Sudoku(4), batch_size=80))
    assert [len(scores) for scores, _ in parts] == [20, 0, 0, 0]
    np.testing.assert_array_equal(np.concatenate([answers for _, answers in parts]), tokens)
    assert measure_cells(joined([scores for scores, _ in parts])) == pytest.approx(
        measure_cells(whole), rel=1e-6
    )
