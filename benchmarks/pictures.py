"""Logistic regression on pixels and a small CNN beside HRMs, on the same pictures: AUROC, accuracy, calibration.

python -m benchmarks.pictures data/xray --seconds 900 --runs runs/xray-0 runs/xray-1 runs/xray-2
python -m benchmarks.pictures data/xray --seconds 60 --seeds 3 --json

Logistic regression has balanced class weights and sees each training picture once. The CNN has three
convolutions; it draws groups of the data set as the HRM does, so pictures are balanced and augmented
as the data set was built, and each draw is one puzzle of its group. AdamW, a cosine over --seconds,
the last weights. Of a run the newest checkpoint is taken; `RUN/checkpoints/...` names another.
Seconds of the CNN are processor time of its training, of all threads; those of a run are wall time
between the reports of its log, evaluations not counted. Intervals are 95 %, by a bootstrap over
patients. Several seeds or runs: the mean, and the range in brackets.
"""

import argparse
import json
import math
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from hrm_core import process
from hrm_core.backend import BackendOptions
from hrm_core.backends import backend_named
from hrm_core.data.store import Dataset, ExampleSet
from hrm_core.inference.evaluation import evaluate
from hrm_core.inference.loading import task_of
from hrm_core.runs.checkpoint import open_model
from hrm_core.tasks import picture_baselines
from hrm_core.tasks import picture_scores as scores
from hrm_core.tasks.picture_listing import Listing, listing, only_set
from hrm_core.tasks.picture_scores import Judgement, log_odds
from hrm_core.tasks.pictures import PictureTask
from hrm_core.tasks.registry import task_of_shape

process.limit_spinning()  # before torch is imported: waiting takes little processor time

import torch  # noqa: E402
from torch import Tensor, nn  # noqa: E402
from torch.nn import functional  # noqa: E402

Array = npt.NDArray[Any]

CHANNELS = 16, 32, 64
POOLED = 3  # side of what the last convolution leaves
BATCH_SIZE = 64
FEW = 250  # pictures at once where nothing is trained
WEIGHT_DECAY = 0.05
SHOWN = ("auroc", "accuracy", "balanced_accuracy", "ece", "balanced_ece")


class Judged(NamedTuple):
    """What one model says of the test pictures, and the seconds of its training."""

    judgement: Judgement
    seconds: float


class Pictures:
    """The pictures of a data set, and what is true of them."""

    def __init__(self, data: Dataset) -> None:
        metadata = data.metadata
        task = task_of_shape(metadata.vocab_size, metadata.seq_len, data.label or "")
        if not isinstance(task, PictureTask):
            raise SystemExit(f"{data.directory} is no data set of pictures; see `hrm data --help`")
        self.task, self.data = task, data
        self.train, self.test = (only_set(data.split(name)) for name in ("train", "test"))
        self.listed: Listing = listing(data, data.split("test"))

    def shown(self, examples: ExampleSet, rows: Array) -> Array:
        """Return pictures (N, ...)."""
        return self.task.pictures(examples, rows)

    def truth(self, examples: ExampleSet, rows: Array) -> Array:
        """Return the targets (N, F) of examples."""
        return self.task.targets(np.asarray(examples.labels[rows]))

    @property
    def empty_judgement(self) -> Judgement:
        """Return the truth of the test pictures, without an answer."""
        truth = self.truth(self.test, self.listed.rows)
        nothing = np.zeros(truth.shape)
        return Judgement(nothing, truth, nothing, self.task.preparation.exclusive)


class CNN(nn.Module):
    """Three convolutions and a linear layer; frames are channels. Shapes: (N, C, H, W) -> (N, F)."""

    def __init__(self, num_frames: int, num_labels: int) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        before = num_frames
        for channels in CHANNELS:
            layers += [nn.Conv2d(before, channels, 3, padding=1), nn.BatchNorm2d(channels)]
            layers += [nn.ReLU(), nn.MaxPool2d(2)]
            before = channels
        layers += [nn.AdaptiveAvgPool2d(POOLED), nn.Flatten()]
        self.layers = nn.Sequential(*layers, nn.Linear(before * POOLED**2, num_labels))

    def forward(self, pictures: Tensor) -> Tensor:
        return self.layers(pictures)


def as_input(pictures: Array) -> Tensor:
    """Scale pictures as the HRM does. Shapes: (N, H, W) or (N, C, H, W) -> (N, C, H, W)."""
    frames = pictures if pictures.ndim == 4 else pictures[:, None]
    return torch.from_numpy((frames.astype(np.float32) / 255 - 0.5) / 0.25)


def loss_of(logits: Tensor, truth: Tensor, exclusive: bool) -> Tensor:
    """Mean cross entropy of the labels that are known. Shapes: (N, F), (N, F)."""
    if exclusive:
        return functional.cross_entropy(logits, truth.argmax(dim=1))
    known = truth >= 0
    return functional.binary_cross_entropy_with_logits(logits[known], truth[known].float())


def draws(examples: ExampleSet, size: int, seed: int) -> Iterator[Array]:
    """Endless batches of examples: each epoch visits every group, one puzzle of each."""
    rng = np.random.default_rng(seed)
    firsts, counts = examples.group_indices[:-1], np.diff(examples.group_indices)
    size = min(size, len(firsts))
    while True:
        puzzles = firsts + rng.integers(counts)
        rows = rng.permutation(examples.puzzle_indices[puzzles])
        yield from rows[: len(rows) // size * size].reshape(-1, size)


def trained_cnn(pictures: Pictures, seconds: float, lr: float, seed: int) -> tuple[CNN, float]:
    """Train for so much processor time. Returns: the network, and the seconds it took."""
    torch.manual_seed(seed)
    prepared = pictures.task.preparation
    model = CNN(prepared.frames, len(prepared.labels))
    optimizer = torch.optim.AdamW(model.parameters(), lr=lr, weight_decay=WEIGHT_DECAY)
    spent = 0.0
    for rows in draws(pictures.train, BATCH_SIZE, seed):
        began = time.process_time()
        for group in optimizer.param_groups:
            group["lr"] = lr * 0.5 * (1 + math.cos(math.pi * min(spent / seconds, 1.0)))
        logits = model(as_input(pictures.shown(pictures.train, rows)))
        truth = torch.from_numpy(pictures.truth(pictures.train, rows))
        loss_of(logits, truth, prepared.exclusive).backward()
        optimizer.step()
        optimizer.zero_grad()
        spent += time.process_time() - began
        if spent >= seconds:
            return model.eval(), spent
    raise AssertionError("batches are endless")


@torch.no_grad()
def asked(model: CNN, pictures: Pictures) -> Tensor:
    """Return the logits (N, F) of the test pictures."""
    parts = np.array_split(pictures.listed.rows, math.ceil(len(pictures.listed.rows) / FEW))
    logits = [model(as_input(pictures.shown(pictures.test, part))) for part in parts]
    return torch.cat(logits).double()


def cnn(pictures: Pictures, seconds: float, lr: float, seed: int) -> Judged:
    """Train a CNN and ask it about the test pictures."""
    model, spent = trained_cnn(pictures, seconds, lr, seed)
    logits = asked(model, pictures)
    empty = pictures.empty_judgement
    if empty.exclusive:
        chances = logits.softmax(dim=1).numpy()
        odds = log_odds(chances, chances @ (1 - np.eye(chances.shape[1])))
    else:
        chances, odds = logits.sigmoid().numpy(), logits.numpy()
    return Judged(empty._replace(chances=chances, odds=odds), spent)


def logistic(pictures: Pictures) -> Judged:
    """Fit logistic regression and ask it about the test pictures."""
    train, began = pictures.data.split("train"), time.process_time()
    rows = picture_baselines.training_rows(listing(pictures.data, train).rows)
    judgement = picture_baselines.logistic(
        picture_baselines.features(pictures.shown(pictures.train, rows)),
        pictures.truth(pictures.train, rows),
        [picture_baselines.features(pictures.shown(pictures.test, pictures.listed.rows))],
        pictures.empty_judgement,
    )
    return Judged(judgement, time.process_time() - began)


def network(pictures: Pictures, run: Path, backend: str) -> Judged:
    """Ask the HRM of a run about the test pictures."""
    model = open_model(run)
    made = backend_named(backend)(model.config, BackendOptions())
    made.load_weights(model.weights)
    task: Any = task_of(model)
    predictions, _ = evaluate(made, pictures.data.split("test"), task, FEW)
    judgement = task.judged(predictions).select(pictures.listed.rows)
    return Judged(judgement, trained_seconds(run))


def trained_seconds(run: Path) -> float:
    """Add up the seconds of training in the log of a run; NaN if there is none."""
    log = run / "log.jsonl"
    if not log.is_file():
        return math.nan
    seconds, before = 0.0, 0
    for line in log.read_text(encoding="utf-8").splitlines():
        record = json.loads(line)
        if record["kind"] == "train":
            seconds += (record["examples"] - before) / record["examples_per_second"]
            before = record["examples"]
    return seconds


def at_half(judged: Judgement) -> list[float]:
    """Compute the scores of answers at 0.5, those of SHOWN behind the AUROC."""
    answers = scores.answers_of(judged)
    found = []
    for weights in (None, answers.balance):
        accuracy = scores.accuracy(answers, weights)
        found.append((accuracy, scores.calibration_error(answers, weights)))
    (plain, ece), (balanced, balanced_ece) = found
    return [plain, balanced, ece, balanced_ece]


def intervals(judged: Judgement, patients: Array) -> dict[str, list[float]]:
    """Return the ends of the interval of each score; that of AUROC is `hrm eval`'s."""
    ranks = scores.interval(scores.macro(scores.resampled(judged, patients)["auroc"]))
    _, numbers = np.unique(patients, return_inverse=True)
    rows_of = [np.flatnonzero(numbers == number) for number in range(numbers.max() + 1)]
    rng = np.random.default_rng(0)
    found = []
    for _ in range(scores.NUM_RESAMPLES):
        drawn = rng.integers(len(rows_of), size=len(rows_of))
        rows = np.concatenate([rows_of[number] for number in drawn])
        found.append(at_half(judged.select(rows)))
    ends = np.quantile(found, [0.025, 0.975], axis=0).T.tolist()
    return dict(zip(SHOWN, [list(ranks), *ends], strict=True))


def report(results: Sequence[Judged], patients: Array) -> dict[str, Any]:
    """Summarise models of several seeds: of each its scores and intervals, then the means."""
    each = []
    for result in results:
        ends = intervals(result.judgement, patients)
        values = scores.measure(result.judgement)
        each.append({name: [values[name], *ends[name]] for name in SHOWN})
    means = {name: float(np.mean([values[name][0] for values in each])) for name in SHOWN}
    seconds = [round(result.seconds, 1) for result in results]
    return {"mean": means, "each": each, "seconds": seconds}


def cell(found: dict[str, Any], name: str) -> str:
    """Write one score: with its interval, or with the range of several seeds."""
    values = [each[name] for each in found["each"]]
    if len(values) == 1:
        return "{:.3f} [{:.3f}, {:.3f}]".format(*values[0])
    points = [value for value, _, _ in values]
    return f"{found['mean'][name]:.3f} [{min(points):.3f}, {max(points):.3f}]"


def print_table(found: dict[str, dict[str, Any]], things: str) -> None:
    """Print a line for each kind of model."""
    print(things)
    print(f"{'':<22} {'seconds':>8} " + " ".join(f"{name:>22}" for name in SHOWN))
    for name, values in found.items():
        count = len(values["each"])
        title = f"{name}, {count} seeds" if count > 1 else name
        cells = " ".join(f"{cell(values, score):>22}" for score in SHOWN)
        print(f"{title:<22} {np.mean(values['seconds']):>8.1f} {cells}")


def parsed() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("data", type=Path, help="made by `hrm data xray` or `hrm data images`")
    parser.add_argument("--runs", type=Path, nargs="*", default=[], help="runs of the HRM")
    parser.add_argument("--seconds", type=float, default=900, help="processor time of a CNN")
    parser.add_argument("--seeds", type=int, default=1, help="CNNs to train")
    parser.add_argument("--lr", type=float, default=2e-3, help="of the CNN")
    parser.add_argument("--backend", choices=("mlx", "torch"), default="mlx", help="of the runs")
    parser.add_argument("--json", action="store_true")
    return parser.parse_args()


def main() -> None:
    """Train the baselines and print all models side by side."""
    chosen = parsed()
    pictures = Pictures(Dataset(chosen.data))
    models: dict[str, Callable[[], list[Judged]]] = {
        "logistic regression": lambda: [logistic(pictures)],
        "CNN": lambda: [
            cnn(pictures, chosen.seconds, chosen.lr, seed) for seed in range(chosen.seeds)
        ],
    }
    if chosen.runs:
        models["HRM"] = lambda: [network(pictures, run, chosen.backend) for run in chosen.runs]
    patients = pictures.listed.patients
    found = {name: report(ask(), patients) for name, ask in models.items()}
    if chosen.json:
        print(json.dumps(found, indent=2))
        return
    count = len(patients)
    things = f"{count:,} {pictures.task.things} of {len(np.unique(patients)):,} patients"
    print_table(found, f"{things}; base rate {scores.base_rate(pictures.empty_judgement):.3f}")


if __name__ == "__main__":
    main()
