"""A causal transformer of the size of an HRM, trained on the same windows for the same time: bits per character over seconds.

python -m benchmarks.transformer text-char --data data/shakespeare --seconds 900 --run runs/shakespeare
python -m benchmarks.transformer text-char --data data/shakespeare --seconds 100 --lr 1e-3

The transformer has the width, the heads and the number of layers of the preset, and the parameters of its network but the Q head.
Seconds are processor time of training in this process, of all its threads; evaluations are not counted. AdamW, a cosine over --seconds.
The curve of the HRM comes from the log of a run: seconds between reports, evaluations not counted. They are wall time; on a busy machine
give the processor time of the run, as `time` says it, with --run-seconds.
"""

import argparse
import json
import math
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from hrm_core import process
from hrm_core.config import ModelConfig, OptimConfig, load_config
from hrm_core.data.store import Dataset, Split
from hrm_core.parameters import num_trainable

process.limit_spinning()  # before torch is imported: waiting takes little processor time

import torch  # noqa: E402
from torch import Tensor, nn  # noqa: E402
from torch.nn import functional  # noqa: E402

IGNORED = -100  # labels that torch leaves out
BETAS = 0.9, 0.95
FEW = 64  # windows at once where nothing is trained


class Point(NamedTuple):
    """One evaluation on the test."""

    seconds: float
    update: int
    bits: float


def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Rotate the pairs (i, i + half) of each head by its place. Shapes: (B, heads, S, head_dim)."""
    first, second = x.chunk(2, dim=-1)
    return torch.cat([first * cos - second * sin, second * cos + first * sin], dim=-1)


class Block(nn.Module):
    """Pre-norm attention and SwiGLU, each added to its input."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        width, inside = config.hidden_size, config.intermediate_size
        self.num_heads = config.num_heads
        self.attention_norm = nn.RMSNorm(width, elementwise_affine=False)
        self.qkv = nn.Linear(width, 3 * width, bias=False)
        self.out = nn.Linear(width, width, bias=False)
        self.mlp_norm = nn.RMSNorm(width, elementwise_affine=False)
        self.gate_up = nn.Linear(width, 2 * inside, bias=False)
        self.down = nn.Linear(inside, width, bias=False)

    def forward(self, x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        """Shapes: (B, S, D) -> (B, S, D)."""
        batch, length, width = x.shape
        heads = self.qkv(self.attention_norm(x)).view(batch, length, 3, self.num_heads, -1)
        q, k, v = heads.permute(2, 0, 3, 1, 4)
        q, k = rotate(q, cos, sin), rotate(k, cos, sin)
        seen = functional.scaled_dot_product_attention(q, k, v, is_causal=True)
        x = x + self.out(seen.transpose(1, 2).reshape(batch, length, width))
        gate, up = self.gate_up(self.mlp_norm(x)).chunk(2, dim=-1)
        return x + self.down(functional.silu(gate) * up)


class Transformer(nn.Module):
    """Embeddings, blocks, a norm and a head of its own."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.embedding = nn.Embedding(config.vocab_size, config.hidden_size)
        num_layers = config.H_layers + config.L_layers
        self.blocks = nn.ModuleList([Block(config) for _ in range(num_layers)])
        self.norm = nn.RMSNorm(config.hidden_size, elementwise_affine=False)
        self.head = nn.Linear(config.hidden_size, config.vocab_size, bias=False)
        places = torch.arange(config.seq_len)[:, None]
        exponents = torch.arange(0, config.head_dim, 2) / config.head_dim
        angles = places * config.rope_theta**-exponents
        self.register_buffer("cos", angles.cos(), persistent=False)
        self.register_buffer("sin", angles.sin(), persistent=False)
        self._initialize(num_layers)

    def _initialize(self, num_layers: int) -> None:
        """Draw weights as GPT-2: what is added to the residual starts smaller in a deep network."""
        for name, weight in self.named_parameters():
            is_last = name.endswith(("out.weight", "down.weight"))
            std = 0.02 / math.sqrt(2 * num_layers) if is_last else 0.02
            nn.init.normal_(weight, std=std)

    def forward(self, tokens: Tensor) -> Tensor:
        """Shapes: (B, S) -> (B, S, V)."""
        x = self.embedding(tokens)
        for block in self.blocks:
            x = block(x, self.cos, self.sin)
        return self.head(self.norm(x))

    def loss(self, tokens: Tensor, labels: Tensor) -> Tensor:
        """Sum of the losses in nats of all labels."""
        logits = self(tokens).flatten(0, 1)
        return functional.cross_entropy(
            logits, labels.flatten(), ignore_index=IGNORED, reduction="sum"
        )


def windows(split: Split) -> tuple[Tensor, Tensor]:
    """All inputs and labels of a split, (N, S) each."""
    inputs = [np.asarray(each.inputs, np.int64) for each in split.sets.values()]
    labels = [np.asarray(each.labels, np.int64) for each in split.sets.values()]
    tokens, scored = np.concatenate(inputs), np.concatenate(labels)
    scored = np.where(np.isin(scored, split.ignored_labels), IGNORED, scored)
    return torch.from_numpy(tokens), torch.from_numpy(scored)


def batches(num_windows: int, size: int, seed: int) -> Iterator[Tensor]:
    """Endless batches: each epoch in an order of its own, its last few windows left out."""
    rng = np.random.default_rng(seed)
    while True:
        order = torch.from_numpy(rng.permutation(num_windows))
        yield from order.split(size)[: num_windows // size]


@torch.no_grad()
def measure(model: Transformer, inputs: Tensor, labels: Tensor) -> float:
    """Mean loss in nats of all labels."""
    parts = zip(inputs.split(FEW), labels.split(FEW), strict=True)
    total = sum(float(model.loss(*part)) for part in parts)
    return total / int((labels != IGNORED).sum())


def decayed(progress: float, least: float) -> float:
    """The cosine from 1 to `least` after this share of the time."""
    return least + (1 - least) * 0.5 * (1 + math.cos(math.pi * min(progress, 1.0)))


def optimizer_of(model: Transformer, lr: float, decay: float) -> torch.optim.AdamW:
    """AdamW; embeddings do not decay."""
    kept = [model.embedding.weight]
    others = [weight for weight in model.parameters() if weight is not kept[0]]
    groups = [{"params": others, "weight_decay": decay}, {"params": kept, "weight_decay": 0.0}]
    return torch.optim.AdamW(groups, lr=lr, betas=BETAS)


def curve(
    model: Transformer,
    train: tuple[Tensor, Tensor],
    test: tuple[Tensor, Tensor],
    chosen: argparse.Namespace,
    optim: OptimConfig,
    bits: float,
) -> Iterator[Point]:
    """Train for `chosen.seconds` and evaluate after equal parts of them; `bits` are those of a nat."""
    optimizer = optimizer_of(model, chosen.lr, optim.weight_decay)
    inputs, labels = train
    spent, due = 0.0, 1
    drawn = batches(len(inputs), chosen.batch_size, chosen.seed)
    for update, rows in enumerate(drawn, start=1):
        began = time.process_time()
        warming = min(1.0, update / max(optim.lr_warmup_steps, 1))
        for group in optimizer.param_groups:
            group["lr"] = chosen.lr * warming * decayed(spent / chosen.seconds, chosen.least)
        loss = model.loss(inputs[rows], labels[rows])
        (loss / (labels[rows] != IGNORED).sum()).backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        spent += time.process_time() - began
        if spent >= due * chosen.seconds / chosen.points:
            due += 1
            yield Point(round(spent, 1), update, bits * measure(model, *test))
        if spent >= chosen.seconds:
            return


def curve_of(run: Path, total: float | None) -> list[Point]:
    """The evaluations of a run, after so many seconds of training; `total` is what all of it took."""
    seconds, examples = [0.0], [0]
    evaluations: list[tuple[int, float]] = []
    for line in (run / "log.jsonl").read_text(encoding="utf-8").splitlines():
        record: dict[str, Any] = json.loads(line)
        if record["kind"] == "train":
            more = record["examples"] - examples[-1]
            seconds.append(seconds[-1] + more / record["examples_per_second"])
            examples.append(record["examples"])
            per_update = record["examples"] / record["update"]
        elif record["kind"] == "eval":
            evaluations.append((record["update"], record["bits"]))
    scale = total / seconds[-1] if total else 1.0
    points = []
    for update, bits in evaluations:
        at = float(np.interp(update * per_update, examples, seconds))
        points.append(Point(round(scale * at, 1), update, bits))
    return points


def between(points: list[Point], seconds: float) -> str:
    """The bits of a curve at a time, "–" outside of it."""
    if not points or not points[0].seconds <= seconds <= points[-1].seconds:
        return "–"
    at = np.interp(seconds, [point.seconds for point in points], [point.bits for point in points])
    return f"{at:.3f}"


def parsed() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("preset")
    parser.add_argument("--data", type=Path, required=True, help="made by `hrm data text`")
    parser.add_argument("--seconds", type=float, default=900, help="processor time of training")
    parser.add_argument("--run", type=Path, help="a run of the HRM, whose log is read")
    parser.add_argument("--run-seconds", type=float, help="processor time of all its training")
    parser.add_argument("--points", type=int, default=10, help="evaluations")
    parser.add_argument("--lr", type=float, default=3e-3)
    parser.add_argument("--least", type=float, default=0.05, help="share of lr at the end")
    parser.add_argument("--batch-size", type=int, help="that of the preset, if not set")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", action="store_true")
    return parser.parse_args()


def main() -> None:
    """Print both curves, the transformer's as it goes."""
    chosen = parsed()
    config, dataset = load_config(chosen.preset), Dataset(chosen.data)
    sized = config.model.sized(dataset.metadata.sizes)
    chosen.batch_size = chosen.batch_size or config.train.global_batch_size
    of_hrm = curve_of(chosen.run, chosen.run_seconds) if chosen.run else []
    bytes_per_token = dataset.build.get("task_settings", {}).get("bytes_per_token", 1)
    torch.manual_seed(chosen.seed)
    model = Transformer(sized)
    size = sum(weight.numel() for weight in model.parameters())
    if not chosen.json:
        print(f"transformer {size:,} parameters, HRM {num_trainable(sized):,}; test bits")
        print(f"{'seconds':>8} {'updates':>8} {'transformer':>12} {'HRM':>7}")
    train, test = (windows(dataset.split(name)) for name in ("train", "test"))
    points = []
    bits = 1 / math.log(2) / bytes_per_token
    for point in curve(model, train, test, chosen, config.optim, bits):
        points.append(point)
        if not chosen.json:
            at_that_time = between(of_hrm, point.seconds)
            row = f"{point.seconds:>8.1f} {point.update:>8,} {point.bits:>12.3f} {at_that_time:>7}"
            print(row, flush=True)
    if chosen.json:
        found = {"parameters": size, "parameters_of_hrm": num_trainable(sized)}
        print(json.dumps({**found, "transformer": points, "hrm": of_hrm}))


if __name__ == "__main__":
    main()
