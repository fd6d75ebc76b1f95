"""A backend against PyTorch's float32 and against the referee, PyTorch's float64, on models of three sizes.

Every side computes the same things from the same numpy arrays; what PyTorch's float32 misses of the referee is the noise that a
correct float32 shows, and stands beside every gap.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np

from hrm_core.backend import AnyArray, Arrays, Backend, BackendOptions
from hrm_core.parameters import PUZZLE_TABLE, initial_values
from hrm_parity import limits
from hrm_parity.checks import Factory, Report, backend_named, is_certified
from hrm_parity.compare import (
    Row,
    Rule,
    Rules,
    compare,
    difference,
    differs,
    number,
    of_largest,
    of_loss,
    of_weight,
    relative,
)
from hrm_parity.configurations import (
    SEED,
    SLOTS,
    UPDATE,
    Configuration,
    Situation,
    averaging,
    initial_situation,
    settled,
    shared_situation,
)
from hrm_parity.golden import Recorded
from hrm_parity.limits import GPU_FACTOR, Limits, Verdict, judge
from hrm_parity.parts import part_results
from hrm_parity.sides import Device, MakeSide, MLXSide, TorchSide

WEIGHT = r"(?!puzzle_emb\.|[HL]_init).*"

PART_RULES = (
    *(
        Rule(f"{name}/value", name, difference)
        for name in ("rms_norm", "RoPE", "attention", "SwiGLU", "block", "embedding")
    ),
    Rule(r"[HL] level/value", "level", difference),
    *(
        Rule(f"{name}/value", name, of_largest)
        for name in ("stablemax", "softmax", "softmax in blocks", "cross entropy of Q")
    ),
    Rule(r".*/gradient", "gradients of these, of largest", of_largest),
    Rule(r"Adam-atan2/.*/weight", "Adam-atan2, weights", difference),
    Rule(r"Adam-atan2/ordinary/[mv]", "Adam-atan2, moments", of_largest),
    Rule(r"Adam-atan2/extreme/[mv]", "Adam-atan2, moments", relative),
    Rule(r"sign-SGD/rows", "sign-SGD, rows", difference),
)

UPDATE_RULES = (
    Rule(r"logits", "logits", difference),
    Rule(r"z_[HL]", "z", difference),
    Rule(r"q_(halt|continue)_logits", "q", difference),
    Rule(r"target_q_continue", "target_q_continue", difference),
    Rule(r"steps|halted", "steps, halted", differs, number),
    Rule(r"current/.*", "data of each slot", differs, number),
    Rule(r"loss|metrics/.*_loss", "losses, of loss", of_loss),
    Rule(r"metrics/accuracy", "mean accuracy", difference),
    Rule(
        r"metrics/(count|exact_accuracy|q_halt_accuracy|steps|halts|judged_halts)",
        "counts, exact accuracy",
        differs,
        number,
    ),
    Rule(rf"grad/{WEIGHT}", "gradients, of largest", of_largest),
    Rule(r"grad/puzzle_emb\..*", "puzzle gradient, of largest", of_largest),
    Rule(rf"weight/{WEIGHT}", "weights after the update", of_weight),
    Rule(rf"average/{WEIGHT}", "average of the weights", of_weight),
    Rule(r"weight/puzzle_emb\..*", "puzzle table after the update", difference),
    Rule(r"[mv]/.*", "moments after the update, of largest", of_largest),
    Rule(r"weight/[HL]_init", "H_init, L_init", differs, number),
)

PARTS, SHARED, INITIAL, CHUNKS = (
    "layers, losses, optimizers",
    "one ACT step and update from a shared state",
    "one update from the published initialisation",
    "all chunks of an example in a row",
)
TURNED = "weights turned, gradient below the noise"


class Machine(NamedTuple):
    """One backend on one device, in float32, whole and in parts."""

    make: Factory
    side: MakeSide


@dataclass(frozen=True, eq=False)
class Prepared:
    """One check of one configuration, and what PyTorch makes of it."""

    configuration: Configuration
    check: str
    situation: Situation | None  # that the update starts from; None: parts alone are checked
    torch: Arrays  # in float32
    referee: Arrays  # in float64


def machine_named(name: str, device: Device = "auto") -> Machine:
    """A backend by its name. Raises: BackendError if there is none of this name or its package is missing."""
    make_side = (
        partial(MLXSide, device=device) if name == "mlx" else partial(TorchSide, device=device)
    )
    return Machine(on_device(backend_named(name), device), make_side)


def on_device(make: Factory, device: Device) -> Factory:
    """The same backend on a device of one's choice."""
    return lambda config, options: make(config, replace(options, device=device))


def prepare(configuration: Configuration) -> Iterator[Prepared]:
    """Each check of a configuration, one at a time: at the paper's size one alone holds some gigabytes."""
    config = configuration.model
    make = on_device(backend_named("torch"), "cpu")
    weights = initial_values(config, SEED)
    parts = (
        part_results(TorchSide(config, weights, device="cpu", dtype=dtype))
        for dtype in ("float32", "float64")
    )
    yield Prepared(configuration, PARTS, None, *parts)
    situation = shared_situation(config)
    situation = settled(
        situation, one_update(make(config, BackendOptions(dtype="float64")), situation), config
    )
    starts = (
        (SHARED, averaging(situation, configuration.ema, UPDATE)),
        (INITIAL, averaging(initial_situation(config), configuration.ema, 1)),
    )
    for check, start in starts:
        updates = (
            one_update(make(config, BackendOptions(dtype=dtype)), start)
            for dtype in ("float32", "float64")
        )
        yield Prepared(configuration, check, start, *updates)
    if config.num_chunks > 1:
        steps = (
            all_chunks(make(config, BackendOptions(dtype=dtype)), situation)
            for dtype in ("float32", "float64")
        )
        yield Prepared(configuration, CHUNKS, situation, *steps)


def hold(machine: Machine, prepared: Prepared) -> Report:
    """Hold a backend against what PyTorch makes of the same."""
    config = prepared.configuration.model
    backend = machine.make(config, BackendOptions(dtype="float32"))
    certified = is_certified(backend)
    with np.errstate(all="ignore"):  # infinities of a broken backend are judged, not warned about
        if prepared.situation is None:
            mine = part_results(machine.side(config, initial_values(config, SEED)))
            rows = _rows(mine, prepared, PART_RULES, limits.PARTS, certified)
        elif prepared.check == CHUNKS:
            mine = all_chunks(backend, prepared.situation)
            rows = _rows(mine, prepared, UPDATE_RULES, limits.CHUNKS, certified)
        else:
            mine = one_update(backend, prepared.situation)
            rows = _rows_of_update(mine, prepared, certified)
    return Report(
        f"{prepared.configuration.name}: {prepared.check}",
        backend.describe(),
        rows,
        prepared.configuration.about,
    )


def one_update(backend: Backend, situation: Situation) -> Arrays:
    """Make one update. Names: those of `trace_update`, and grad, weight, average, m and v of each weight."""
    backend.load_weights(situation.weights)
    backend.begin_training(situation.optim, SLOTS)
    if situation.state is not None:
        backend.load_state(situation.state)
    trace = dict(backend.trace_update(situation.batch, situation.min_steps, situation.rates))
    if "puzzle_grad_local" in trace:
        trace[f"grad/{PUZZLE_TABLE}"] = _per_identifier(trace, situation.weights[PUZZLE_TABLE])
        del trace["puzzle_grad_local"]
    trace |= {f"weight/{name}": array for name, array in backend.weights().items()}
    state, model = backend.state(), backend.averaged_weights()
    averaged = [name.removeprefix("raw.") for name in state if name.startswith("raw.")]
    trace |= {f"average/{name}": model[name] for name in averaged}
    moments = {name: array for name, array in state.items() if name[:2] in ("m.", "v.")}
    return trace | {f"{name[0]}/{name[2:]}": array for name, array in moments.items()}


def all_chunks(backend: Backend, situation: Situation) -> Arrays:
    """Take every ACT step of an example, chunk after chunk. Names: logits, z_H and z_L, (A, B, ...) each."""
    backend.load_weights(situation.weights)
    carry, steps = backend.begin(situation.batch), []
    for _ in range(backend.config.halt_max_steps):
        carry, answers = backend.step(carry)
        state = backend.carry_arrays(carry)
        steps.append({"logits": answers.logits, "z_H": state["z_H"], "z_L": state["z_L"]})
    return {name: np.stack([step[name] for step in steps]) for name in steps[0]}


def _per_identifier(trace: Arrays, table: AnyArray) -> AnyArray:
    """Gradients of the puzzle vectors, those of equal identifiers summed. Shapes: (B, E) -> (N, E)."""
    summed = np.zeros(table.shape)
    np.add.at(summed, trace["current/puzzle_identifiers"], trace["puzzle_grad_local"])
    return summed


def _rows_of_update(mine: Arrays, prepared: Prepared, certified: bool) -> list[Row]:
    slack = 1 if certified else GPU_FACTOR
    mine, turned = without_turned(mine, prepared.referee, slack)
    torch, noise = without_turned(prepared.torch, prepared.referee, 1)
    rows = _rows(mine, replace(prepared, torch=torch), UPDATE_RULES, limits.UPDATE, certified)
    count, of_torch = (sum(map(len, places.values())) for places in (turned, noise))
    limit = max(limits.TURNED_FEW, limits.NOISE_FACTOR * of_torch)
    where = next(
        (
            f"{name}[{','.join(map(str, places[0]))}]"
            for name, places in turned.items()
            if len(places)
        ),
        "",
    )
    tensors = {name: len(places) for name, places in turned.items()}
    return [
        *rows,
        Row(TURNED, count, where, limit, judge(count, limit, certified), tensors, of_torch),
    ]


def without_turned(
    mine: Arrays, referee: Arrays, slack: float
) -> tuple[Arrays, Mapping[str, AnyArray]]:
    """Put aside the weights that rounding alone turned: they moved otherwise, and their gradient is below the noise of gradients.

    The first step of Adam-atan2, and every step of sign-SGD, has the full size whatever the size of the gradient. A gradient that
    is zero excuses nothing.
    Returns: the arrays with the referee's value in these places, and the places of each tensor, (n, axes).
    """
    cleaned, places = dict(mine), {}
    for name in mine:
        kind, _, tensor = name.partition("/")
        if kind not in ("weight", "average") or f"grad/{tensor}" not in referee:
            continue
        gradient = np.abs(referee[f"grad/{tensor}"])
        is_noise = (gradient > 0) & (
            gradient <= slack * limits.UPDATE["gradients, of largest"] * gradient.max()
        )
        is_apart = (
            np.abs(mine[name] - referee[name]) / np.maximum(np.abs(referee[name]), 1)
            > slack * limits.UPDATE["weights after the update"]
        )
        cleaned[name] = np.where(is_noise & is_apart, referee[name], mine[name])
        places[name] = np.argwhere(is_noise & is_apart)
    return cleaned, places


def _rows(
    mine: Arrays, prepared: Prepared, rules: Rules, of_check: Limits, certified: bool
) -> list[Row]:
    """A row a quantity: the gap to the referee and the one to PyTorch's float32 are judged, the noise stands beside them."""
    judged = dict(of_check)
    noise = {
        row.quantity: row for row in _compared(prepared.torch, prepared.referee, rules, judged)
    }
    if prepared.configuration.is_paper and prepared.situation is not None:
        judged |= {
            name: min(judged[name], limits.of_noise(noise[name].gap))
            for name in limits.NOISY & noise.keys()
        }
    to_torch = {row.quantity: row for row in _compared(mine, prepared.torch, rules, of_check)}
    rows = []
    for row in _compared(mine, prepared.referee, rules, judged):
        other = to_torch[row.quantity]
        verdicts = (
            judge(row.gap, row.limit, certified),
            judge(other.gap, of_check[row.quantity], certified),
        )
        verdict = next((verdict for verdict in verdicts if verdict is Verdict.BROKEN), verdicts[0])
        rows.append(
            replace(row, verdict=verdict, noise=noise[row.quantity].gap, to_torch=other.gap)
        )
    return rows


def _compared(mine: Arrays, other: Arrays, rules: Rules, of_check: Limits) -> list[Row]:
    return compare(
        mine, Recorded(Path("PyTorch"), other), "", of_check, certified=True, rules=rules
    )
