"""Images in patches (SPEC.md, section 13.4), in both backends."""

import importlib
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from beyond import (
    PICTURES,
    SIZES,
    B,
    K,
    Make,
    N,
    S,
    V,
    config_with,
    drawn_batch,
    drawn_images,
    drawn_weights,
    looking,
    updated,
)

from hrm_core.config import ModelConfig, validated
from hrm_core.data.store import load_split
from hrm_core.data.writer import Examples, Layout, write_dataset
from hrm_core.errors import ConfigError
from hrm_core.inference.evaluation import answer_step_by_step, evaluate
from hrm_core.parameters import initial_values
from hrm_parity.sides import MLXSide, TorchSide


def expected_patches(images: Any, chunk: int, config: ModelConfig) -> Any:
    """The patches of one chunk, pixel by pixel. Shapes: -> (B, n, p p)."""
    height, width = config.strip_size
    strips = config.num_chunks - (config.first_chunk == "overview")
    found = []
    for image in images:
        if image.ndim == 3:
            picture = image[chunk].astype(float)
        elif config.first_chunk == "overview" and chunk == 0:
            columns = [image[:, x * strips : (x + 1) * strips].mean(axis=1) for x in range(width)]
            picture = np.stack(columns, axis=1)
        else:
            strip = chunk - (config.first_chunk == "overview")
            picture = image[:, strip * width : (strip + 1) * width].astype(float)
        rows = [
            picture[y : y + 2, x : x + 2].ravel()
            for y in range(0, height, 2)
            for x in range(0, width, 2)
        ]
        found.append(rows)
    return np.array(found)


@pytest.fixture(params=["mlx", "torch"])
def side(request: pytest.FixtureRequest) -> Any:
    pytest.importorskip("torch" if request.param == "torch" else "mlx")
    kind = TorchSide if request.param == "torch" else MLXSide
    return lambda config: kind(config, drawn_weights(config), device="cpu")


@pytest.mark.parametrize("kind", PICTURES)
def test_patches_are_cut_row_by_row(side: Any, kind: str) -> None:
    config = looking(kind)
    images, made = drawn_images(config), side(config)
    act = importlib.import_module(made.layers.__name__.replace("layers", "act"))
    for step in range(config.halt_max_steps):
        steps = made.array(np.full(B, step, np.int32))
        found = made.evaluate(partial(act.patches_worked_on, steps=steps, config=config), images)
        chunk = min(step // K, config.num_chunks - 1)
        np.testing.assert_allclose(found, expected_patches(images, chunk, config), atol=1e-4)
    assert found.dtype == np.float32


def test_patches_are_added_to_their_tokens(side: Any) -> None:
    """Behind the puzzle slot; the tokens behind the patches are as they were."""
    config = looking("strips")
    made, weights = side(config), drawn_weights(config)
    tokens = drawn_batch().inputs
    patches = expected_patches(drawn_images(config), 0, config).astype(np.float32)
    assert patches.shape[1] == config.num_patches == 4
    vectors = np.zeros((B, 32), np.float32)
    given = made.array(tokens), made.array(vectors)
    found = made.evaluate(partial(made.model.embed, *given), patches)
    rows = weights["embed_tokens.embedding_weight"][tokens].astype(float)
    seen = (patches / 255.0 - 0.5) / 0.25 @ weights["embed_patches.weight"].T.astype(float)
    rows[:, :4] += 32**-0.5 * seen
    np.testing.assert_allclose(found[:, 1:], 32**0.5 * rows, atol=1e-4)


def test_weights_of_patches_are_drawn_last() -> None:
    plain, patched = config_with(), looking("one picture")
    values, others = initial_values(patched, seed=2), initial_values(plain, seed=2)
    assert list(values) == [*others, "embed_patches.weight"]
    for name, array in others.items():
        np.testing.assert_array_equal(values[name], array, err_msg=name)
    assert values["embed_patches.weight"].shape == (32, 4)
    assert values["embed_patches.weight"].std() == pytest.approx(0.5, rel=0.15)


@pytest.mark.parametrize("kind", PICTURES)
def test_pictures_go_on_with_their_slot(make: Make, kind: str) -> None:
    """In training, at inference and in a run that is resumed, micro-batches or not."""
    config = looking(kind)
    first, second, third = make(config), make(config), make(config, micro_batch=4)
    images, others = drawn_images(config), drawn_images(config, seed=4)
    chunks = config.num_chunks
    updated(first, replace(drawn_batch(1, chunks), images=images), 1)
    updated(third, replace(drawn_batch(1, chunks), images=images), 1)
    second.load_weights({name: weight.copy() for name, weight in first.weights().items()})
    second.load_state({name: array.copy() for name, array in first.state().items()})
    batch = replace(drawn_batch(2, chunks), images=others)
    traces = [updated(backend, batch, 2) for backend in (first, second, third)]
    halted = traces[0]["steps"] == 1
    expected = np.where(halted.reshape(-1, *[1] * (images.ndim - 1)), others, images)
    np.testing.assert_array_equal(traces[0]["current/images"], expected)
    for name, array in traces[0].items():
        np.testing.assert_array_equal(traces[1][name], array, err_msg=name)
    np.testing.assert_allclose(traces[2]["logits"], traces[0]["logits"], atol=1e-3)
    assert np.abs(traces[0]["grad/embed_patches.weight"]).max() > 0


def test_what_a_strip_shows_is_seen_in_its_chunk_and_later(make: Make) -> None:
    config = looking("strips")
    backend, batch = (
        make(config),
        replace(drawn_batch(0, 3), images=drawn_images(looking("strips"))),
    )
    assert batch.images is not None
    other = batch.images.copy()
    other[:, :, 4:8] = 255 - other[:, :, 4:8]  # the second strip
    said = []
    for images in (batch.images, other):
        carry, logits = backend.begin(replace(batch, images=images)), []
        for _ in range(config.halt_max_steps):
            carry, answers = backend.step(carry)
            logits.append(answers.logits.copy())
        said.append(np.stack(logits))
    differs = (said[0] != said[1]).any(axis=(1, 2, 3))
    np.testing.assert_array_equal(differs, [False] * K + [True] * (2 * K + 1))


WRONG_PICTURES = {
    "patches that do not fit": (
        {"image_size": [4, 10], "patch_size": 2, "num_chunks": 2, "halt_max_steps": 2},
        "image_size=[4, 10] in 2 strips cannot be cut into squares of patch_size=2",
    ),
    "strips that do not fit": (
        {"image_size": [4, 10], "patch_size": 2, "num_chunks": 3},
        "image_size=[4, 10] in 3 strips cannot be cut into squares of patch_size=2",
    ),
    "too many": (
        {"image_size": [8, 8], "patch_size": 2},
        "image_size=[8, 8] has 16 patches of patch_size=2 a chunk, seq_len=9 has no room",
    ),
    "other frames": (
        {"image_size": [4, 4, 4], "patch_size": 2, "num_chunks": 3},
        "image_size=4 frames, expected num_chunks=3",
    ),
    "overview of frames": (
        {"image_size": [3, 4, 4], "patch_size": 2, "num_chunks": 3, "first_chunk": "overview"},
        "first_chunk=overview takes one picture",
    ),
    "overview alone": (
        {"image_size": [4, 4], "patch_size": 2, "first_chunk": "overview"},
        "first_chunk=overview takes one picture",
    ),
    "no patch size": ({"image_size": [4, 4]}, "belong together: set patch_size"),
    "no picture": ({"patch_size": 2}, "belong together: set patch_size, and use data with images"),
}


@pytest.mark.parametrize("name", WRONG_PICTURES)
def test_pictures_that_do_not_fit_are_refused(name: str) -> None:
    changes, message = WRONG_PICTURES[name]
    with pytest.raises(ConfigError) as refused:
        validated(ModelConfig, {**SIZES, **changes}, "mine")
    assert message in str(refused.value)
    assert len(str(refused.value).splitlines()) == 1


def test_questions_without_their_picture_are_refused(make: Make) -> None:
    backend = make(looking("one picture"))
    with pytest.raises(ConfigError, match=r"looks at images of size \(4, 8\)"):
        answer_step_by_step(backend, drawn_batch().inputs, np.zeros(B, np.int32))


@pytest.mark.parametrize("kind", PICTURES)
def test_pictures_are_read_through_a_map(make: Make, tmp_path: Path, kind: str) -> None:
    config = looking(kind)
    rng = np.random.default_rng(1)
    assert config.image_size is not None
    images = rng.integers(0, 256, (N, *config.image_size), np.uint8)
    inputs = rng.integers(0, V, (N, config.num_cells))
    layout = Layout(V, S, identifiers=("<blank>", "a", "b"), num_chunks=config.num_chunks)
    blocks = [
        Examples(inputs[rows], inputs[rows], images=images[rows])
        for rows in (slice(0, 5), slice(5, N))
    ]
    write_dataset(tmp_path / "data", layout, {"test": {"all": blocks}}, {"task": "pictures"})
    split = load_split(tmp_path / "data", "test")
    assert isinstance(split.sets["all"].images, np.memmap)
    assert config.seen(split.sizes) == config.sizes
    backend = make(config)
    _, answers = evaluate(backend, split, None, 4)
    ids = np.zeros(N, np.int32)
    found = answer_step_by_step(backend, inputs, ids, batch_size=4, images=images)
    np.testing.assert_array_equal(answers, found.final)
