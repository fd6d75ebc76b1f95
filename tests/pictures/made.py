"""Data sets of pictures that a tiny model learns in seconds: label f is a bright square in place f."""

import csv
from collections.abc import Sequence
from io import StringIO
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from hrm_core.data.writer import Examples, Layout, write_dataset
from hrm_core.tasks.pictures import PictureSettings, PictureTask
from hrm_core.tasks.registry import label_of
from hrm_tasks.images.task import Images
from hrm_tasks.xray.task import Xray

SIDE = 12
CORNERS = ((0, 0), (0, 8), (8, 0), (8, 8))  # of the squares, (top, left)
CONFIG = """\
model:
  puzzle_emb_ndim: 0
  H_cycles: 1
  L_cycles: 1
  H_layers: 1
  L_layers: 1
  hidden_size: 32
  num_heads: 2
  expansion: 2
  pos_encodings: learned
  halt_max_steps: 1
  loss_type: softmax_cross_entropy
  halting: fixed
optim:
  lr: 3e-3
  lr_warmup_steps: 5
  lr_min_ratio: 0.1
  weight_decay: 0.1
  puzzle_emb_lr: 1e-2
train:
  global_batch_size: 32
  epochs: 200
  eval_interval: 50
  max_updates: 80
"""


class Drawn(NamedTuple):
    """Pictures and their labels."""

    pictures: npt.NDArray[np.uint8]  # (N, ...)
    targets: npt.NDArray[np.int64]  # (N, F)


def drawn(settings: PictureSettings, count: int, seed: int) -> Drawn:
    """Draw pictures with noise; of the labels that do not exclude each other a tenth is unknown."""
    rng = np.random.default_rng(seed)
    num_labels = len(settings.labels)
    targets = rng.integers(0, 2, (count, num_labels))
    if settings.exclusive:
        targets = np.eye(num_labels, dtype=np.int64)[rng.integers(num_labels, size=count)]
    pictures = rng.integers(40, 120, (count, *settings.image_shape))
    for row, label in np.argwhere(targets == 1).tolist():
        top, left = CORNERS[label]
        pictures[row, ..., top : top + 4, left : left + 4] += 45
    if not settings.exclusive:
        targets[rng.random(targets.shape) < 0.1] = -1
        targets[(targets < 0).all(axis=1), 0] = 0
    return Drawn(pictures.astype(np.uint8), targets)


def task_of(kind: str = "xray", **settings: Any) -> PictureTask:
    """Return a task of pictures of 12 x 12 in patches of 4."""
    defaults = {"labels": ("Edema", "Mass"), "size": (SIDE, SIDE), "patch": 4}
    known = PictureSettings(**{**defaults, **settings})
    return Xray(known) if kind == "xray" else Images(known)


def write_pictures(
    out: Path,
    task: PictureTask,
    num_train: int = 96,
    num_test: int = 40,
    copies: int = 1,
    splits: Sequence[str] = ("train", "test"),
    is_listed: bool = True,
) -> dict[str, Drawn]:
    """Write a data set; each patient has two pictures, each training picture `copies` puzzles."""
    found, blocks = {}, {}
    lines = StringIO()
    table = csv.writer(lines, lineterminator="\n")
    table.writerow(["split", "example", "file", "patient"])
    for split in splits:
        count, repeats = (num_train, copies) if split == "train" else (num_test, 1)
        found[split] = made = drawn(task.preparation, count, seed=len(split))
        rows = np.repeat(np.arange(count), repeats)
        tokens, images = task.questions(made.pictures[rows])
        labels = task.answers(made.targets[rows])
        groups = np.full(count, repeats)
        blocks[split] = {"all": [Examples(tokens, labels, group_sizes=groups, images=images)]}
        for picture in range(count):
            name = f"{split}/{picture:03d}.png"
            table.writerow([split, picture * repeats, name, f"{split}{picture // 2}"])
    layout = Layout(task.vocab_size, task.seq_len, num_chunks=task.num_chunks)
    files = {"images.csv": lines.getvalue()} if is_listed else {}
    write_dataset(out, layout, blocks, {"task": label_of(task)}, files)
    return found
