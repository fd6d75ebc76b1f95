"""Models of every kind can be analyzed; what they cannot have is left out with a sentence."""

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import mlx

from hrm_analysis.asking import drawn_questions
from hrm_analysis.landscape import measure_landscape
from hrm_analysis.parts import Part
from hrm_analysis.report import MEASURES, analyze, plain
from hrm_analysis.study import Study
from hrm_core.config import ModelConfig
from hrm_core.data.store import Dataset
from hrm_core.inference.loading import task_of
from hrm_core.inference.slots import Questions, batch_of, no_images
from hrm_core.parameters import initial_values
from hrm_core.runs.checkpoint import find_model, load_model

KEPT = Path(__file__).parents[1] / "kept"
SIZES: dict[str, Any] = {
    "vocab_size": 7,
    "seq_len": 6,
    "num_puzzle_identifiers": 3,
    "puzzle_emb_ndim": 32,
    "hidden_size": 32,
    "num_heads": 2,
    "H_layers": 1,
    "L_layers": 1,
}
N = 10


def study_of(config: ModelConfig, prefix_len: int = 0) -> Study:
    """A study of a model without a task, on random questions."""
    rng = np.random.default_rng(0)
    inputs, labels = rng.integers(0, 7, (2, N, config.num_cells), dtype=np.int32)
    images = no_images(N)
    if config.image_size:
        images = rng.integers(0, 256, (N, *config.image_size), np.uint8)
    numbers, identifiers = np.arange(N), rng.integers(0, 3, N)
    prefixes = np.full(N, prefix_len, np.int32)
    questions = Questions(numbers, inputs, identifiers, labels, -np.ones(N, int), prefixes, images)
    weights, steps = initial_values(config, 3), config.halt_max_steps
    return Study(mlx, config, weights, None, questions, steps, batch_size=4)


def left_out(study: Study) -> dict[str, str]:
    """Measure every part and draw it. Returns: the sentences of those that are left out."""
    found = analyze(study, list(MEASURES), [], {})
    for part in found.parts.values():
        if not isinstance(part, str):
            measured: Part = part
            assert measured.pictures() or measured.title == "Modes"
            assert all(isinstance(line, str) for line in measured.findings())
            assert plain(measured.numbers())
    reasons = {name: part for name, part in found.parts.items() if isinstance(part, str)}
    assert all(reason.endswith(".") for reason in reasons.values())
    return reasons


def test_an_example_in_chunks_has_no_answer_that_stands() -> None:
    chunks = {"num_chunks": 3, "steps_per_chunk": 2, "halt_max_steps": 7}
    pictures = {"image_size": [4, 12], "patch_size": 2, "halting": "fixed"}
    config = ModelConfig.model_validate({**SIZES, **chunks, **pictures})
    reasons = left_out(study_of(config))
    assert set(reasons) == {"modes", "halting"}
    assert reasons["modes"].startswith("An example is worked on in chunks")


def test_a_model_of_one_cycle_has_every_figure_that_needs_no_second(tmp_path: Path) -> None:
    cycles = {"halt_max_steps": 1, "H_cycles": 1, "L_cycles": 1, "halting": "fixed"}
    config = ModelConfig.model_validate({**SIZES, **cycles})
    report = analyze(study_of(config), list(MEASURES), [], {})
    assert [name for name, part in report.parts.items() if isinstance(part, str)] == ["halting"]
    report.write(tmp_path / "out")
    text = (tmp_path / "out" / "report.md").read_text()
    assert "no answer stands before it that it could change" in text
    assert "cells that changed" not in text
    assert re.search(r"\| z_L \|.* \| none \|", text)
    landscape: Any = report.parts["landscape"]
    assert landscape.plane_of == "the states of all examples"
    assert np.ptp(landscape.across) > 1  # the plane reaches over them, not over one point
    assert landscape.values.max() > landscape.end_value > landscape.values.min()
    # a model without a task has examples, no puzzles
    assert "of all examples" in text
    assert "puzzle" not in text


def test_the_landscape_of_a_short_example_ends_with_its_last_chunk() -> None:
    """Against the losses of the answers that a plain step gives there."""
    chunks = {"num_chunks": 3, "steps_per_chunk": 1, "halt_max_steps": 3, "halting": "fixed"}
    study = study_of(ModelConfig.model_validate({**SIZES, **chunks}))
    study.questions.labels[0, 12:] = -100  # it ends before the third chunk
    part: Any = measure_landscape(study)
    assert (part.row, len(part.path)) == (0, 2 * study.config.H_cycles)
    assert part.values.min() > 0
    carry = study.backend.begin(batch_of(study.questions.select(slice(1)), study.config))
    for _ in range(2):
        carry, _, cycles = study.backend.trace(carry)
    answers = study.backend.decode(carry, cycles.z_H[-1], cycles.z_L[-1])
    labels = np.ascontiguousarray(study.questions.labels[:1, 6:12])
    assert part.end_value == pytest.approx(float(answers.label_losses(labels).mean()), rel=1e-4)


def test_a_prefix_is_seen_by_every_pass() -> None:
    """Also by trial passes, whose answers would differ without it."""
    config = ModelConfig.model_validate(
        {**SIZES, "attention": "prefix", "halting": "fixed", "halt_max_steps": 3}
    )
    study = study_of(config, prefix_len=4)
    assert set(left_out(study)) == {"halting"}
    every = study.cycles_per_step
    np.testing.assert_array_equal(
        study.recording.trials[every - 1 :: every], study.recording.tokens
    )


@pytest.mark.parametrize(
    ("file", "data", "expected"),
    [
        ("maze.safetensors", "maze", set()),
        ("grids.safetensors", "grids", set()),
        ("arc", "arc", set()),
    ],
)
def test_models_of_other_tasks_have_every_figure(file: str, data: str, expected: set[str]) -> None:
    model = load_model(find_model(KEPT / file))
    split = Dataset(KEPT / "data" / data).split("test")
    questions = drawn_questions(split, 12, seed=0)
    if len(questions) < 10:
        expected = {"dimension"}
    task = task_of(model)
    study = Study(mlx, model.config, model.weights, task, questions, 3, batch_size=16)
    assert set(left_out(study)) == expected
