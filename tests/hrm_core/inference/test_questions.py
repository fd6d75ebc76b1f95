"""Questions with a prefix and an image: what a task reads reaches the model."""

from typing import Any, NamedTuple

import numpy as np
import pytest

from hrm_core.backend import Batch, Replica
from hrm_core.config import ModelConfig
from hrm_core.errors import PuzzleError
from hrm_core.inference.solving import Solver
from hrm_core.runs.identifiers import Identifiers
from hrm_core.tasks.capabilities import Question
from hrm_core.tasks.cells import CellMeasures
from hrm_core.tasks.contract import IntArray, TokenArray

CONFIG = ModelConfig.model_validate(
    {
        "vocab_size": 200,
        "seq_len": 5,
        "num_puzzle_identifiers": 1,
        "puzzle_emb_ndim": 0,
        "H_layers": 1,
        "L_layers": 1,
        "hidden_size": 4,
        "num_heads": 2,
        "halt_max_steps": 2,
        "loss_type": "softmax_cross_entropy",
        "attention": "prefix",
        "halting": "fixed",
        "image_size": (4, 4),
        "patch_size": 2,
    }
)


class Said(NamedTuple):
    tokens: np.ndarray
    q_halt_logits: np.ndarray
    q_continue_logits: np.ndarray


class Seeing:
    """Answers each question with its prefix and the brightest pixel of its image."""

    replica = Replica()
    is_compiled = False

    def __init__(self, config: ModelConfig = CONFIG) -> None:
        self.config = config

    def begin(self, batch: Batch) -> np.ndarray:
        lengths, images = batch.prefix_len, batch.images
        count = len(batch.inputs)
        seen = np.zeros((count, self.config.seq_len), np.int32)
        if lengths is not None:
            seen[:, 0] = lengths
        if images is not None:
            seen[:, 1] = images.reshape(count, -1).max(axis=1, initial=0)
        return seen

    def step(self, carry: np.ndarray) -> tuple[np.ndarray, Said]:
        q = np.zeros(len(carry), np.float32)
        return carry, Said(carry, q, q)

    def take(self, carry: np.ndarray, slots: np.ndarray) -> np.ndarray:
        return carry[slots]


class Glances(CellMeasures):
    """A task whose questions are written "PREFIX BRIGHTNESS"."""

    name = "glances"
    vocab_size, seq_len, num_chunks = 200, 5, 1

    def questions(self, text: str, name: str) -> list[Question]:
        found = []
        for line in text.splitlines():
            prefix_len, brightness = map(int, line.split())
            image = np.full((4, 4), brightness, np.uint8)
            found.append(Question(np.zeros(5, np.uint8), name, None, prefix_len, image))
        return found

    def puzzle_of(self, identifier: str) -> str:
        return identifier

    def identifiers_of(self, names: Any, puzzle: str) -> IntArray:
        return np.zeros(0, np.int64)

    def how_to_add(self, puzzle: str) -> str:
        return "hrm data glances DATA"


def solver(config: ModelConfig = CONFIG) -> Solver:
    names: Any = Identifiers("runs/glances", 1, ["<blank>"])
    backend: Any = Seeing(config)
    task: Any = Glances()
    return Solver(backend, task, names)


def seen(found: Any) -> list[tuple[int, int]]:
    return [tuple(solution.answer[:2].tolist()) for solution in found]


def test_prefix_and_image_of_each_question_reach_the_model() -> None:
    assert seen(solver().solve("3 90\n0 7\n5 150", identifier="blank")) == [
        (3, 90),
        (0, 7),
        (5, 150),
    ]


def test_model_without_patches_is_given_no_image() -> None:
    config = CONFIG.model_copy(update={"image_size": None, "patch_size": None})
    assert seen(solver(config).solve("3 90", identifier="blank")) == [(3, 0)]


def tokens() -> TokenArray:
    return np.zeros(5, np.uint8)


@pytest.mark.parametrize(
    ("question", "message"),
    [
        (Question(tokens()), r"puzzle 2 has no image, which model\.patch_size needs"),
        (
            Question(tokens(), image=np.zeros((4, 8), np.uint8)),
            r"puzzle 2 has an image of uint8 \(4, 8\), expected uint8 \(4, 4\)",
        ),
        (
            Question(tokens(), image=np.zeros((4, 4))),
            r"puzzle 2 has an image of float64 \(4, 4\), expected uint8 \(4, 4\)",
        ),
        (
            Question(tokens(), prefix_len=6, image=np.zeros((4, 4), np.uint8)),
            "puzzle 2 has prefix_len=6, expected 0 to 5",
        ),
    ],
)
def test_question_without_what_the_model_wants_is_refused(question: Question, message: str) -> None:
    whole = Question(tokens(), image=np.zeros((4, 4), np.uint8))
    with pytest.raises(PuzzleError, match=message):
        solver().solve_puzzles([whole, question], identifier="blank")
