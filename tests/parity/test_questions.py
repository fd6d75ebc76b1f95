"""Two modalities in one row: a question token behind the patches of a picture decides the answer."""

from typing import Any

import numpy as np
from beyond import Make, config_with

from hrm_core.backend import Backend, Batch
from hrm_core.config import ModelConfig, OptimConfig
from hrm_core.parameters import initial_values
from hrm_core.schedule import rates

SLOTS, UPDATES = 64, 250
OPTIM = OptimConfig(lr=3e-3, lr_warmup_steps=20, weight_decay=0.1, puzzle_emb_lr=0.0)
IMAGE, NO, YES, IS_BRIGHT, IS_LEFT_BRIGHTER = 1, 2, 3, 4, 5
SLOT = 8  # behind the patches of 4 x 4
QUESTIONS = (IS_BRIGHT, IS_LEFT_BRIGHTER)


def config() -> ModelConfig:
    looks = {"seq_len": SLOT + 1, "image_size": [8, 16], "patch_size": 4}
    small = {"H_cycles": 1, "L_cycles": 1, "puzzle_emb_ndim": 0, "pos_encodings": "learned"}
    halts = {"halting": "fixed", "halt_max_steps": 1, "loss_type": "softmax_cross_entropy"}
    return config_with(**looks, **small, **halts)


def halves(rng: np.random.Generator, count: int) -> tuple[Any, Any]:
    """Draw pictures of two grey halves. Returns: (N, 8, 16), and the answers (2, N) to both questions."""
    greys = rng.uniform(60, 196, (count, 2))
    noise = rng.normal(0, 10, (count, 8, 16))
    images = (np.repeat(greys, 8, axis=1)[:, None] + noise).clip(0, 255).astype(np.uint8)
    return images, np.stack([greys.mean(axis=1) > 128, greys[:, 0] > greys[:, 1]])


def asking(images: Any, questions: Any, truth: Any) -> Batch:
    """A row for each picture: its patches, then the question. Shapes: (N, 8, 16), (N,), (N,)."""
    inputs = np.full((len(images), SLOT + 1), IMAGE, np.int32)
    labels = np.full_like(inputs, -100)
    inputs[:, SLOT] = questions
    labels[:, SLOT] = np.where(truth, YES, NO)
    return Batch(inputs, labels, np.zeros(len(images), np.int32), images=images)


def trained(make: Make) -> Backend:
    backend = make(config())
    backend.load_weights(initial_values(backend.config, seed=0))
    backend.begin_training(OPTIM, SLOTS)
    rng, floors = np.random.default_rng(0), np.zeros(SLOTS, np.int32)
    for update in range(1, UPDATES + 1):
        images, truth = halves(rng, SLOTS)
        asked = rng.integers(0, 2, SLOTS)
        batch = asking(images, np.array(QUESTIONS)[asked], truth[asked, np.arange(SLOTS)])
        backend.update(batch, floors, rates(update, UPDATES, OPTIM))
    return backend


def answers(backend: Backend, images: Any, question: int) -> Any:
    """True where the answer to a question is yes."""
    batch = asking(images, question, np.zeros(len(images), bool))
    _, found = backend.step(backend.begin(batch))
    chances = found.probabilities(np.array([SLOT], np.int32), np.array([NO, YES], np.int32))
    return chances[:, 0, 1] > 0.5


def test_the_question_behind_the_patches_decides_the_answer(make: Make) -> None:
    backend = trained(make)
    images, truth = halves(np.random.default_rng(1), 1000)
    differs = truth[0] != truth[1]  # here one answer to both questions is wrong once
    said = [answers(backend, images[differs], question) for question in QUESTIONS]
    right = [np.mean(each == truth[:, differs][row]) for row, each in enumerate(said)]
    assert min(right) > 0.9
    blank = answers(backend, images[differs], IMAGE)
    assert min(np.mean(blank == each) for each in truth[:, differs]) <= 0.5
