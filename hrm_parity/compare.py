"""Holds recorded tensors against replayed ones: what is compared how, and where the worst difference is.

The recorded names decide: each is looked up in `RULES`, so nothing that was recorded is passed over in silence.
Shapes: steps first, A ACT steps or U updates; B slots, S tokens, T positions, D hidden, V vocabulary.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from hrm_core.backend import AnyArray, Arrays
from hrm_parity.golden import WAY_OUT, CaseError, Recorded
from hrm_parity.limits import Limits, Verdict, judge


@dataclass(frozen=True)
class Row:
    """One quantity of a case."""

    quantity: str
    gap: float  # the worst difference, or the number of entries that differ
    where: str  # tensor and index of it
    limit: float
    verdict: Verdict
    tensors: Mapping[str, float] = field(default_factory=dict)  # the same of each tensor alone
    noise: float | None = (
        None  # the gap that PyTorch's float32 shows itself; where there is a referee
    )
    to_torch: float | None = None  # the gap to PyTorch's float32; where there is a referee

    @property
    def excess(self) -> float:
        """The worst gap over the limit; NaN counts as infinite."""
        gap = max(np.nan_to_num([self.gap, self.to_torch or 0.0], nan=np.inf))
        return float(gap / self.limit) if self.limit else float(np.inf if gap else 0)


@dataclass(frozen=True, eq=False)
class Pair:
    """One recorded tensor and its replay in the form in which it was recorded."""

    name: str
    recorded: AnyArray
    mine: AnyArray
    whole: AnyArray  # what `mine` was taken from
    loss: AnyArray | None  # (A,) or (U,) recorded


Gaps = npt.NDArray[np.float64]
Measure = Callable[[Pair], Gaps]
Summary = Callable[[Sequence[tuple[str, Gaps]]], tuple[float, str]]


def difference(pair: Pair) -> Gaps:
    """Absolute difference of each entry."""
    mine, recorded = (np.asarray(array, np.float64) for array in (pair.mine, pair.recorded))
    return np.abs(mine - recorded)


def relative(pair: Pair) -> Gaps:
    """Difference over the recorded value; the difference itself where that is zero."""
    return difference(pair) / _nonzero(np.abs(pair.recorded))


def of_loss(pair: Pair) -> Gaps:
    """Difference of a part of the loss over the recorded loss of that step."""
    assert pair.loss is not None
    return difference(pair) / _nonzero(pair.loss)


def of_largest(pair: Pair) -> Gaps:
    """Difference over the largest entry of the whole tensor."""
    return difference(pair) / _nonzero(np.abs(pair.whole).max(initial=0))


def of_weight(pair: Pair) -> Gaps:
    """Difference of each weight, over the weight where that is larger than 1."""
    return difference(pair) / np.maximum(np.abs(pair.recorded), 1)


def of_step_largest(pair: Pair) -> Gaps:
    """Difference over the largest entry of the same step."""
    return difference(pair) / _nonzero(
        np.abs(pair.recorded).max(axis=tuple(range(1, pair.recorded.ndim)), keepdims=True)
    )


def step_rms(pair: Pair) -> Gaps:
    """Root of the mean squared difference of each step."""
    squares = np.square(difference(pair))
    means: Gaps = squares.mean(axis=tuple(range(1, squares.ndim)))
    return np.sqrt(means)


def per_summand(pair: Pair) -> Gaps:
    """Difference of a sum over the number of its summands."""
    return difference(pair) * pair.recorded.size / pair.whole.size


def statistics_gap(pair: Pair) -> Gaps:
    """Difference of the three sums, each as the difference an element would need on average (Cauchy and Schwarz)."""
    size, squares = pair.whole.size, pair.recorded[2]
    return difference(pair) / _nonzero(np.array([size, size, 2 * np.sqrt(size * squares)]))


def statistics_of_largest(pair: Pair) -> Gaps:
    """The same over the largest entry."""
    return statistics_gap(pair) / _nonzero(np.abs(pair.whole).max(initial=0))


def differs(pair: Pair) -> Gaps:
    """1 where an entry is not identical."""
    return np.not_equal(pair.mine, pair.recorded).astype(np.float64)


def sign_differs(pair: Pair) -> Gaps:
    """1 where the sign is another."""
    return np.not_equal(np.sign(pair.mine), np.sign(pair.recorded)).astype(np.float64)


def worst(gaps: Sequence[tuple[str, Gaps]]) -> tuple[float, str]:
    """The largest gap, NaN above all, and where it is."""
    name, array = max(gaps, key=lambda item: np.nan_to_num(item[1].max(initial=0), nan=np.inf))
    return float(array.max(initial=0)), _place(name, array)


def number(gaps: Sequence[tuple[str, Gaps]]) -> tuple[float, str]:
    """Count the entries that differ, and name the first."""
    total = sum(array.sum() for _, array in gaps)
    return float(total), next((_place(name, array) for name, array in gaps if array.any()), "")


def root_mean_square(gaps: Sequence[tuple[str, Gaps]]) -> tuple[float, str]:
    """Root of the mean square over all tensors together, and the tensor that adds most."""
    sums = {name: float(np.square(array).sum()) for name, array in gaps}
    total = sum(array.size for _, array in gaps)
    return float(np.sqrt(sum(sums.values()) / total)), max(sums, key=lambda name: sums[name])


class Rule(NamedTuple):
    """Rule by which tensors of some names are compared."""

    names: str  # a regular expression of the whole name
    quantity: str  # what `limits` calls it; {} is "forward" or "training"
    measure: Measure
    summary: Summary = worst


WEIGHT = r"(?!puzzle_emb\.|[HL]_init).*"

Rules = Sequence[Rule]

RULES: Rules = (
    Rule(r"logits", "{} logits", difference),
    Rule(r"logits", "{} logits, rms", step_rms),
    Rule(r"z_[HL](_first100)?", "{} z", difference),
    Rule(r"z_[HL]_sum", "{} z, means", per_summand),
    Rule(r"z_[HL]_(mean|absmean_per_position)", "{} z, means", difference),
    Rule(r"q_(halt|continue)_logits", "{} q", difference),
    Rule(r"target_q_continue", "{} target_q_continue", difference),
    Rule(r"steps|halted", "{} steps, halted", differs, number),
    Rule(r"current/.*|min_halt_steps", "{} data of each slot, exploration", differs, number),
    Rule(r"loss", "{} loss, relative", relative),
    Rule(r"(metrics|reduced)/.*_loss", "{} loss parts, of loss", of_loss),
    Rule(r"metrics/accuracy|reduced/(.*accuracy|steps)", "{} mean metrics", difference),
    Rule(
        r"metrics/(count|exact_accuracy|q_halt_accuracy|steps)|reduced/count",
        "{} counts, exact accuracy",
        differs,
        number,
    ),
    Rule(r"(puzzle_emb_)?lr", "{} learning rates", differs, number),
    Rule(rf"grad(_rows\d+)?/{WEIGHT}", "first gradient, of largest", of_largest),
    Rule(rf"grad_stat/{WEIGHT}", "first gradient, statistics", statistics_of_largest),
    Rule(
        r"grad_norm/.*|grad_norm_adam|puzzle_grad_local_norm", "gradient norms, relative", relative
    ),
    Rule(r"puzzle_grad", "puzzle gradient, of largest", of_step_largest),
    Rule(r"grad(_rows\d+)?/puzzle_emb\..*", "puzzle gradient, of largest", of_largest),
    Rule(r"grad_stat/puzzle_emb\..*", "puzzle gradient, of largest", statistics_of_largest),
    Rule(r"puzzle_grad", "puzzle gradient, signs", sign_differs, number),
    Rule(r"w1(_rows\d+)?/(?![HL]_init).*", "weights after update 1", difference),
    Rule(r"w1_stat/.*", "weights after update 1, statistics", statistics_gap),
    Rule(rf"w12(_rows\d+)?/{WEIGHT}", "weights after update 12", difference),
    Rule(rf"w12(_rows\d+)?/{WEIGHT}", "weights after update 12, rms", difference, root_mean_square),
    Rule(r"w12_stat/.*", "weights after update 12, statistics", statistics_gap),
    Rule(r"w12(_rows\d+)?/puzzle_emb\..*", "puzzle table after update 12", difference),
    Rule(r"w12?(_rows\d+)?/[HL]_init", "H_init, L_init", differs, number),
    Rule(r".*/b\d+/(inputs|labels|puzzle_identifiers)", "batches", differs, number),
    Rule(r".*/b\d+/example_index", "examples chosen", differs, number),
    Rule(r".*/b\d+/puzzle_index", "puzzles chosen", differs, number),
    Rule(r".*/b\d+/(set|effective_size)", "set and size", differs, number),
)

GIVEN = r"(batch/)?(inputs|labels|puzzle_identifiers)|explore_(uniform|min_steps)"  # what a replay starts from


def compare(
    replayed: Arrays,
    recorded: Recorded,
    part: str,
    limits: Limits,
    certified: bool,
    rules: Rules = RULES,
) -> list[Row]:
    """Hold everything that was recorded against its replay. A quantity without a limit is left out.

    Raises: CaseError where a recorded tensor is not one that its config gives.
    """
    rows = []
    for quantity, group in _by_quantity(rules, part).items():
        names = [
            (rule, name)
            for rule in group
            for name in sorted(recorded)
            if re.fullmatch(rule.names, name)
        ]
        if names and quantity in limits:
            gaps = [(name, rule.measure(_pair(name, replayed, recorded))) for rule, name in names]
            gap, where = group[0].summary(gaps)
            tensors = {item[0]: group[0].summary([item])[0] for item in gaps}
            rows.append(
                Row(
                    quantity,
                    gap,
                    where,
                    limits[quantity],
                    judge(gap, limits[quantity], certified),
                    tensors,
                )
            )
    return rows + _unknown(recorded, rules)


def statistics(tensor: AnyArray) -> AnyArray:
    """Sum, sum of absolute values and sum of squares in float64. Shapes: any -> (3,)."""
    tensor = tensor.astype(np.float64)
    return np.array([tensor.sum(), np.abs(tensor).sum(), np.square(tensor).sum()])


def state_forms(name: str, z: AnyArray) -> dict[str, AnyArray]:
    """Return the parts of a large state that are recorded. Shapes: (A, B, T, D) -> (A, ...)."""
    return {
        f"{name}_{form}": np.ascontiguousarray(of(z.astype(np.float64), ndim))
        for form, (of, ndim) in _STATE_FORMS.items()
    }


def _by_quantity(rules: Rules, part: str) -> dict[str, list[Rule]]:
    groups: dict[str, list[Rule]] = {}
    for rule in rules:
        groups.setdefault(rule.quantity.format(part), []).append(rule)
    return groups


def _unknown(recorded: Recorded, rules: Rules) -> list[Row]:
    known = [rule.names for rule in rules] + [GIVEN]
    names = [
        name
        for name in sorted(recorded)
        if not any(re.fullmatch(pattern, name) for pattern in known)
    ]
    return (
        [
            Row(
                "recorded tensors of unknown meaning",
                len(names),
                ", ".join(names),
                0,
                Verdict.UNKNOWN,
            )
        ]
        if names
        else []
    )


def _pair(name: str, replayed: Arrays, recorded: Recorded) -> Pair:
    expected = recorded[name]
    try:
        whole, mine = _stored_form(name, replayed, expected.ndim)
    except (KeyError, np.exceptions.AxisError) as error:
        raise CaseError(
            f"{recorded.path}: {name} is nothing that its case.json gives; {WAY_OUT}"
        ) from error
    if mine.shape != expected.shape:
        raise CaseError(
            f"{recorded.path}: {name} has shape {expected.shape}, its case.json gives {mine.shape}; {WAY_OUT}"
        )
    loss = recorded["loss"] if name.endswith("loss") else None
    if loss is not None and name.startswith("reduced/"):
        loss = loss / replayed["steps"].shape[1]
    return Pair(name, expected, mine, whole, loss)


def _stored_form(name: str, replayed: Arrays, ndim: int) -> tuple[AnyArray, AnyArray]:
    """A whole replayed tensor, and what of it was recorded under this name. Source: recorded/README.md."""
    if form := re.fullmatch(r"(grad|w1|w12)_(?:stat|rows([1-9]\d*))/(.*)", name):
        whole = replayed[f"{form[1]}/{form[3]}"]
        return whole, whole[:: int(form[2])] if form[2] else statistics(whole)
    if form := re.fullmatch(r"(z_[HL])_(.*)", name):
        whole = replayed[form[1]]
        return whole, _STATE_FORMS[form[2]][0](whole.astype(np.float64), ndim)
    return replayed[name], replayed[name]


def _sum(z: AnyArray, ndim: int) -> AnyArray:
    return np.asarray(z.sum(axis=tuple(range(ndim, z.ndim))))


def _mean(z: AnyArray, ndim: int) -> AnyArray:
    return np.asarray(z.mean(axis=tuple(range(ndim, z.ndim))))


def _first100(z: AnyArray, ndim: int) -> AnyArray:
    flat: AnyArray = z.reshape(*z.shape[: ndim - 1], -1)
    return flat[..., :100]


def _absmean_per_position(z: AnyArray, ndim: int) -> AnyArray:
    kept = (*range(ndim - 1), 2)  # positions are axis 2 of (A, B, T, D)
    return np.asarray(
        np.abs(z).mean(axis=tuple(axis for axis in range(z.ndim) if axis not in kept))
    )


_STATE_FORMS = {  # and the number of axes that `state_forms` gives each
    "sum": (_sum, 1),
    "mean": (_mean, 1),
    "first100": (_first100, 2),
    "absmean_per_position": (_absmean_per_position, 2),
}


def _nonzero(values: npt.ArrayLike) -> Gaps:
    """Return a divisor: 1 instead of 0."""
    divisors = np.asarray(values, np.float64)
    return np.where(divisors == 0, 1, divisors)


def _place(name: str, gaps: Gaps) -> str:
    """Tensor and index of its largest gap, nothing where there is none."""
    if not gaps.size or gaps.max() == 0:
        return ""
    if not gaps.ndim:
        return name
    index = np.unravel_index(int(np.argmax(gaps)), gaps.shape)
    return f"{name}[{','.join(map(str, index))}]"
