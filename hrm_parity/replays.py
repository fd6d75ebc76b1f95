"""Replays of recorded cases: the same tensors under the same names, made by a backend and by our data order.

Shapes: A ACT steps, U updates, B slots, S tokens, T positions, D hidden, V vocabulary, N identifiers, E `puzzle_emb_ndim`.
"""

import re
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from hrm_core.backend import Arrays, Backend, Batch, IntArray
from hrm_core.data import batches, store
from hrm_core.inference import metrics
from hrm_core.parameters import PUZZLE_TABLE
from hrm_core.schedule import rates
from hrm_parity.golden import CaseError, ModelCase, OrderCase, Recorded

FloatArray = npt.NDArray[np.floating]
Named = dict[str, Any]  # arrays; scalars become arrays when steps are stacked

FIELDS = ("inputs", "labels", "puzzle_identifiers")  # of a recorded batch


def replay_forward(backend: Backend, case: ModelCase, recorded: Recorded) -> Arrays:
    """Evaluate the recorded batch. Names: recorded/README.md, "forward.safetensors"; every tensor is (A, ...)."""
    labels = recorded["labels"]
    carry = backend.begin(Batch(recorded["inputs"], labels, recorded["puzzle_identifiers"]))
    steps: list[Named] = []
    for _ in range(case.forward_steps):
        carry, answers = backend.step(carry)
        step: Named = {
            "logits": answers.logits,
            "q_halt_logits": answers.q_halt_logits,
            "q_continue_logits": answers.q_continue_logits,
            **backend.carry_arrays(carry),
        }
        steps.append(
            {**step, **evaluation_loss(step, answers.tokens, labels, case.config.loss_type)}
        )
    return _stacked(steps)


def evaluation_loss(step: Named, tokens: IntArray, labels: IntArray, loss_type: str) -> Named:
    """Loss and sums of metrics of one ACT step in evaluation. Source: sapientinc/HRM models/losses.py."""
    losses = token_losses(step["logits"], labels, loss_type)
    scores = metrics.score(tokens, labels, np.zeros(labels.shape, np.bool_), losses)
    right, count = (np.asarray(scores[name], np.int64) for name in ("num_right", "num_labelled"))
    exact, counted = right == count, step["halted"] & (count > 0)
    q = step["q_halt_logits"].astype(np.float64)
    q_halt_loss = (np.maximum(q, 0) - q * exact + np.log1p(np.exp(-np.abs(q)))).sum()
    lm_loss = scores["lm_loss"].sum()
    sums = {
        "count": counted,
        "accuracy": counted * right / np.maximum(count, 1),
        "exact_accuracy": counted & exact,
        "q_halt_accuracy": counted & ((q >= 0) == exact),
        "steps": counted * step["steps"],
        "lm_loss": lm_loss,
        "q_halt_loss": q_halt_loss,
    }
    return {
        "loss": lm_loss + 0.5 * q_halt_loss,
        **{f"metrics/{name}": np.sum(values, dtype=np.float64) for name, values in sums.items()},
    }


def token_losses(logits: FloatArray, labels: IntArray, loss_type: str) -> FloatArray:
    """Cross entropy of each labelled cell, in float64, as published. Shapes: (B, S, V), (B, S) -> (B, S).

    Source: sapientinc/HRM models/losses.py.
    """
    exact = logits.astype(np.float64)
    is_softmax = loss_type == "softmax_cross_entropy"
    # the log of exp(a), or of stablemax's a + 1, which is 1 / (1 - a) below zero
    with np.errstate(invalid="ignore"):  # a broken backend is told by its numbers
        logs = (
            exact - exact.max(axis=-1, keepdims=True)
            if is_softmax
            else np.sign(exact) * np.log1p(np.abs(exact))
        )
    chosen = np.take_along_axis(logs, np.maximum(labels, 0)[..., None], axis=-1)[..., 0]
    return np.where(labels >= 0, np.log(np.exp(logs).sum(axis=-1)) - chosen, 0.0)


def replay_training(backend: Backend, case: ModelCase, recorded: Recorded) -> Arrays:
    """Make the recorded updates. Names: recorded/README.md, "train.safetensors"; every tensor but grad, w1 and w12 is (U, ...)."""
    min_halt_steps = exploration(recorded, case.config.halt_exploration_prob)
    backend.begin_training(case.optim, case.batch_size)
    updates: list[Named] = []
    for update, floor in enumerate(min_halt_steps, start=1):
        batch = Batch(*(recorded[f"batch/{field}"][update - 1] for field in FIELDS))
        scalars = rates(update, case.total_updates, case.optim)
        trace: Named = dict(backend.trace_update(batch, floor, scalars))
        gradients = _gradients(trace, case)
        if update == 1:
            first = {**_prefixed("grad/", gradients), **_prefixed("w1/", backend.weights())}
        trace |= {**_reduced(trace, case.batch_size), **_norms(trace, gradients)}
        trace |= {"lr": scalars.lr, "puzzle_emb_lr": scalars.puzzle_emb_lr, "min_halt_steps": floor}
        updates.append(trace)
    return {**_stacked(updates), **first, **_prefixed("w12/", backend.weights())}


def exploration(recorded: Recorded, probability: float) -> IntArray:
    """Steps that each slot must take before it may halt, from the draws. Shapes: (U, B) -> (U, B)."""
    return np.where(
        recorded["explore_uniform"] < probability, recorded["explore_min_steps"], np.int32(0)
    )


def replay_order(case: OrderCase) -> Arrays:
    """Read the recorded data set in our order. Names: recorded/README.md, "batches.safetensors"."""
    replayed: Named = {}
    readers: dict[str, list[str]] = {}
    for recorded in case.settings.batches:
        readers.setdefault(_reader(recorded.prefix), []).append(recorded.prefix)
    for reader, prefixes in readers.items():
        order, split = _order(case, reader)
        for prefix, batch in zip(prefixes, order, strict=False):
            named = {
                **{field: getattr(batch, field) for field in (*FIELDS, "example_index")},
                "puzzle_index": split.sets[batch.set_name].puzzle_of(batch.example_index),
                "set": np.array([batch.set_name]),
                "effective_size": np.array([batch.effective_size]),
            }
            replayed |= _prefixed(f"{prefix}/", named)
    return replayed


def _order(case: OrderCase, reader: str) -> tuple[Iterator[batches.DrawnBatch], store.Split]:
    """The batches one reader of the recording yields: train, test, train_r2/rank0 …"""
    name = re.fullmatch(r"(train|test)(?:_r(\d+)/rank(\d+))?", reader)
    if name is None:
        path = case.recorded.path.with_name("case.json")
        raise CaseError(
            f"{path}: batches of {reader!r}, expected train or test, or these with _r<ranks>/rank<rank>"
        )
    ranks, rank = int(name[2] or 1), int(name[3] or 0)
    split = store.load_split(case.dataset, name[1])
    train = case.settings.train
    if name[1] == "test":
        return batches.evaluation_batches(
            split, case.settings.test.global_batch_size, rank, ranks
        ), split
    return batches.TrainingOrder(
        split,
        train.global_batch_size,
        seed=train.seed,
        epochs_per_iter=train.epochs_per_iter,
        rank=rank,
        num_replicas=ranks,
        legacy_seed=train.numpy_global_seed,
    ), split


def _reader(prefix: str) -> str:
    """Who read a batch: its prefix without iteration and number."""
    return re.sub(r"(/it\d+)?/b\d+$", "", prefix)


def _gradients(trace: Named, case: ModelCase) -> Named:
    """Gradient of each tensor; the puzzle vectors' summed per identifier into (N, E)."""
    gradients = {
        name.removeprefix("grad/"): array
        for name, array in trace.items()
        if name.startswith("grad/")
    }
    if "puzzle_grad_local" in trace:
        summed = np.zeros((case.config.num_puzzle_identifiers, case.config.puzzle_emb_ndim))
        np.add.at(summed, trace["current/puzzle_identifiers"], trace["puzzle_grad_local"])
        gradients[PUZZLE_TABLE] = summed
    return gradients


def _norms(trace: Named, gradients: Named) -> Named:
    norms = {
        name: np.linalg.norm(gradient.astype(np.float64)) for name, gradient in gradients.items()
    }
    adam = [norm for name, norm in norms.items() if name != PUZZLE_TABLE]
    named: Named = {**_prefixed("grad_norm/", norms), "grad_norm_adam": np.linalg.norm(adam)}
    if PUZZLE_TABLE in gradients:
        local = trace["puzzle_grad_local"].astype(np.float64)
        named |= {
            "puzzle_grad": gradients[PUZZLE_TABLE],
            "puzzle_grad_local_norm": np.linalg.norm(local),
        }
    return named


def _reduced(trace: Named, batch_size: int) -> Named:
    """Return the metrics that would be logged; of the count, 1 if there was any."""
    sums = {
        name.removeprefix("metrics/"): float(value)
        for name, value in trace.items()
        if name.startswith("metrics/")
    }
    means = metrics.reduced(sums, batch_size)
    return _prefixed("reduced/", {**means, "count": float(means["count"] > 0)})


def _prefixed(prefix: str, arrays: Mapping[str, Any]) -> Named:
    """Copies under longer names: a backend's weights may be views that its next update changes."""
    return {prefix + name: np.array(array) for name, array in arrays.items()}


def _stacked(steps: list[Named]) -> Named:
    """Steps in front. Gradients of all tensors are dropped: only the first ones are recorded."""
    return {
        name: np.stack([step[name] for step in steps])
        for name in steps[0]
        if not name.startswith("grad/")
    }
