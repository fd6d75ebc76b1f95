"""Participation ratios: how many dimensions the states of a level spread over.

Shapes: n samples of d numbers, A ACT steps, M puzzles, T positions, D hidden.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, get_args

import numpy as np
import numpy.typing as npt

from hrm_analysis.parts import PUZZLES, Picture, table
from hrm_analysis.states import Recording
from hrm_analysis.study import ORDERED, SHUFFLED, LeftOutError, Study
from hrm_core.pictures.charts import empty_panels
from hrm_core.pictures.curves import RUN_COLOURS

FloatArray = npt.NDArray[np.floating]
Level = Literal["H", "L"]
Way = Literal["position", "state"]  # what one sample is
When = Literal["last", "all"]  # ACT steps that samples are taken after

BLOCK_VALUES = 2**21  # numbers that are centred at once, in float64: 16 MiB
COUNTS = 10, 20, 50, 100, 200, 500, 1000
FEWEST = 10  # puzzles
SIZE = 11.0, 7.0  # inches
PAPER = {"H": (89.95, 40.75), "L": (30.22, 42.09)}  # trained, untrained; 100 trajectories of Sudoku
SAMPLES = {"position": "one position", "state": "the whole state"}


class Ratio(NamedTuple):
    """Participation ratio of some samples."""

    puzzles: int
    samples: int
    most: int  # the largest value that so many samples can have
    ratio: float
    corrected: float  # by the bias of few Gaussian samples; infinite or NaN where they tell nothing


def participation_ratio(samples: FloatArray) -> float:
    """(sum of eigenvalues)² / sum of their squares, of the covariance of samples. Shapes: (n, d).

    Both sums are traces: no eigenvalue is computed.
    """
    trace, trace_of_square = moments(samples)
    return trace**2 / trace_of_square if trace_of_square else float("nan")


def moments(samples: FloatArray) -> tuple[float, float]:
    """Trace of the covariance of samples (n, d), and of its square, from the covariance or the Gram matrix.

    Whichever is smaller is summed up block by block in float64: the traces are the same.
    """
    count, width = samples.shape
    size = min(count, width)
    product = np.zeros((size, size))
    for block in _centred(samples, along_samples=width <= count):
        product += block
    product /= max(count - 1, 1)
    return float(np.trace(product)), float(np.square(product).sum())


def _centred(samples: FloatArray, along_samples: bool) -> Iterator[FloatArray]:
    """Yield products of blocks of centred samples whose sum is XᵀX (d, d), else XXᵀ (n, n)."""
    count, width = samples.shape
    mean = samples.mean(axis=0, dtype=np.float64)
    if along_samples:
        size = max(1, BLOCK_VALUES // width)
        for start in range(0, count, size):
            rows = samples[start : start + size] - mean
            yield rows.T @ rows
        return
    size = max(1, BLOCK_VALUES // count)
    for start in range(0, width, size):
        columns = samples[:, start : start + size] - mean[start : start + size]
        yield columns @ columns.T


def corrected_ratio(trace: float, trace_of_square: float, count: int) -> float:
    """Participation ratio of the population, from the moments of `count` independent Gaussian samples.

    With n = count - 1, E[tr S²] = tr C² (1 + 1/n) + (tr C)²/n and E[(tr S)²] = (tr C)² + 2 tr C²/n.
    Source: moments of the Wishart distribution, e.g. Srivastava 2005.
    """
    n = count - 1
    if n < 2:
        return float("nan")
    squares = n**2 * (trace_of_square - trace**2 / n) / ((n - 1) * (n + 2))
    if squares <= 0:
        return float("inf")
    return (trace**2 - 2 * squares / n) / squares


def samples_of(ends: FloatArray, way: Way, when: When, count: int) -> FloatArray:
    """Samples (n, d) of the first puzzles, from states (A, M, T, D) after each ACT step."""
    chosen = ends[-1:, :count] if when == "last" else ends[:, :count]
    width = ends.shape[3] if way == "position" else ends.shape[2] * ends.shape[3]
    return chosen.reshape(-1, width)


def ratio_of(samples: FloatArray, count: int) -> Ratio:
    """Measure samples of `count` puzzles."""
    trace, trace_of_square = moments(samples)
    ratio = trace**2 / trace_of_square if trace_of_square else float("nan")
    size, width = samples.shape
    corrected = corrected_ratio(trace, trace_of_square, size)
    return Ratio(count, size, min(size - 1, width), ratio, corrected)


@dataclass(frozen=True, eq=False)
class Dimension:
    """Participation ratios of both levels, each way, of the model and of its controls."""

    ratios: Mapping[tuple[str, Level, Way, When], Sequence[Ratio]]  # of more and more puzzles
    shuffled: Mapping[tuple[Level, Way, When], Ratio]  # of all puzzles
    shape: tuple[int, int]  # T, D
    things: str = PUZZLES

    title = "Participation ratio"

    @property
    def definition(self) -> str:
        """Return what is measured and drawn."""
        positions, hidden = self.shape
        return (
            "PR = (Σλ)² / Σλ² of the eigenvalues λ of the covariance of states, between 1 and the number of "
            "dimensions. The paper does not say what a sample is, so both are measured: one position of one puzzle "
            f"({hidden} numbers), and the whole state of a puzzle ({positions} × {hidden} = {positions * hidden:,} "
            "numbers). Samples are taken after the last ACT step, or after every one, of more and more puzzles in "
            "random order. N samples span at most N − 1 "
            "dimensions, and PR of few samples is too small: `at most` is that limit, and `corrected` is the estimate "
            "for the population if samples were independent and Gaussian, which positions and steps of one puzzle "
            "are not. Untrained: the same network with initial weights. Shuffled: every dimension of the states "
            "shuffled over the samples by itself, which leaves variances and takes away correlations."
        )

    def numbers(self) -> Mapping[str, Any]:
        """Return all data of the picture."""
        found: dict[str, Any] = {}
        for (name, *key), curve in self.ratios.items():
            found["/".join([name, *key])] = [ratio._asdict() for ratio in curve]
        for kind, ratio in self.shuffled.items():
            found["/".join(["shuffled", *kind])] = [ratio._asdict()]
        found["paper"] = {level: {"trained": t, "untrained": u} for level, (t, u) in PAPER.items()}
        return found

    def findings(self) -> Sequence[str]:
        """Return a table of all puzzles, with the paper's values below."""
        rows = []
        for level, way, when in self.shuffled:
            trained = self.ratios["model", level, way, when][-1]
            untrained = self.ratios["untrained", level, way, when][-1]
            row = [f"z_{level}", SAMPLES[way], when, str(trained.puzzles), f"{trained.samples:,}"]
            row += [f"{trained.most:,}", f"{trained.ratio:.2f}", _written(trained.corrected)]
            row += [f"{untrained.ratio:.2f}", _written(untrained.corrected)]
            rows.append([*row, f"{self.shuffled[level, way, when].ratio:.1f}"])
        columns = ["state", "a sample is", "steps", "puzzles", "samples N", "at most"]
        columns += ["PR", "corrected", "untrained", "corrected", "shuffled"]
        return [
            *table(columns, rows),
            "",
            f"The paper, 100 trajectories of Sudoku-Extreme-Full, 27 million parameters: z_H {PAPER['H'][0]}, "
            f"z_L {PAPER['L'][0]}; untrained {PAPER['H'][1]} and {PAPER['L'][1]}.",
        ]

    def pictures(self) -> Mapping[str, Picture]:
        """Draw PR over the number of puzzles: a panel for each way and choice of steps."""
        figure, panels = empty_panels(2, 2, SIZE)
        places = [(way, when) for way in get_args(Way) for when in get_args(When)]
        for axes, (way, when) in zip(panels, places, strict=True):
            for colour, level in enumerate(get_args(Level)):
                for name, line in (("model", "-"), ("untrained", "--")):
                    curve = self.ratios[name, level, way, when]
                    label = f"z_{level}" if name == "model" else f"z_{level}, untrained"
                    axes.plot(
                        [ratio.puzzles for ratio in curve],
                        [ratio.ratio for ratio in curve],
                        color=RUN_COLOURS[colour],
                        linestyle=line,
                        marker=".",
                        label=label,
                    )
            steps = "after the last ACT step" if when == "last" else "after every ACT step"
            axes.set_title(f"a sample is {SAMPLES[way]}, {steps}", loc="left", fontsize="medium")
            axes.set_xlabel(self.things)
            axes.set_ylabel("participation ratio")
            axes.set_ylim(bottom=0)
        panels[0].legend(frameon=False)
        return {"dimension": figure}


def measure_dimension(study: Study) -> Dimension:
    """Measure participation ratios. Raises: LeftOutError with too few puzzles."""
    recordings = {"model": study.recording, "untrained": study.untrained}
    most = study.recording.num_kept
    if most < FEWEST:
        raise LeftOutError(
            f"The states of {most} puzzles are at hand, expected {FEWEST} or more; ask more puzzles."
        )
    counts = sorted({count for count in COUNTS if count < most} | {most})
    ratios: dict[tuple[str, Level, Way, When], list[Ratio]] = {}
    shuffled: dict[tuple[Level, Way, When], Ratio] = {}
    rng, order = study.rng(SHUFFLED), study.rng(ORDERED).permutation(most)
    for level, way, when in _kinds():
        for name, recording in recordings.items():
            ends = _ends(recording, level)[:, order]
            curve = [ratio_of(samples_of(ends, way, when, count), count) for count in counts]
            ratios[name, level, way, when] = curve
        everything = samples_of(_ends(recordings["model"], level), way, when, most)
        shuffled[level, way, when] = ratio_of(rng.permuted(everything, axis=0), most)
    positions, hidden = study.recording.ends_H.shape[2:]
    return Dimension(ratios, shuffled, (positions, hidden), study.things)


def _kinds() -> Iterator[tuple[Level, Way, When]]:
    for way in get_args(Way):
        for when in get_args(When):
            for level in get_args(Level):
                yield level, way, when


def _ends(recording: Recording, level: Level) -> FloatArray:
    return recording.ends_H if level == "H" else recording.ends_L


def _written(corrected: float) -> str:
    return f"{corrected:.2f}" if np.isfinite(corrected) else "no estimate"
