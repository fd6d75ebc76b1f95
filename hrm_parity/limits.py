"""How far a backend may be from the published numbers, beside how far MLX was.

Measured: MLX 0.32.4 on an x86-64 CPU (AMD EPYC, MKL, 2 streams) with `hrm parity --golden ../shared/golden`. The limits and their
reasons: SPEC.md section 10.
A limit of zero means identical: the gap is then the number of entries that differ.

One weight of `rope_stablemax_f32`, H_level.layers.1.mlp.gate_up_proj.weight[186,26], has a first gradient of 3e-9, near the rounding
noise. On other hardware that element of w1 may be off by 2·lr; it, and what follows from it in w12, is no error.
"""

from collections.abc import Mapping
from enum import Enum

Limits = Mapping[str, float]

GPU_FACTOR = 10  # on a device where nobody has measured yet
LARGE_HIDDEN_SIZE = 512  # from here on the Q head sums over more channels


class Verdict(Enum):
    """What a gap means."""

    OK = "ok"
    BROKEN = "broken"
    UNCERTIFIED = "not certified before"  # within the wider limits of a device where nobody has measured
    UNKNOWN = "not compared"  # recorded, but no check knows what it is


FLOAT32: Limits = {  #                                 worst gap measured
    "forward logits": 2e-4,  #                        5.1e-5
    "forward z": 4e-4,  #                             8.5e-5
    "forward z, means": 4e-5,  #                      1.9e-7, in the case that the package carries
    "forward q": 2e-5,  #                             1.8e-6
    "forward steps, halted": 0,  #                    0
    "forward loss, relative": 2e-5,  #                1.3e-6
    "forward loss parts, of loss": 2e-5,  #           1.3e-6
    "forward mean metrics": 1e-6,  #                  6.8e-8
    "forward counts, exact accuracy": 0,  #           0
    "training logits": 6e-4,  #                       7.6e-5
    "training z, means": 4e-5,  #                     7.2e-6
    "training q": 1e-4,  #                            9.1e-6
    "training target_q_continue": 1e-4,  #            4.8e-6
    "training steps, halted": 0,  #                   0
    "training data of each slot, exploration": 0,  #  0
    "training loss, relative": 2e-5,  #               4.0e-6
    "training loss parts, of loss": 2e-5,  #          3.9e-6
    "training mean metrics": 1e-6,  #                 1.2e-7
    "training counts, exact accuracy": 0,  #          0
    "training learning rates": 0,  #                  0
    "first gradient, of largest": 1e-5,  #            2.2e-6
    "first gradient, statistics": 1e-5,  #            8.1e-8
    "gradient norms, relative": 1e-3,  #              4.2e-5
    "puzzle gradient, of largest": 2e-3,  #           1.0e-4
    "puzzle gradient, signs": 0,  #                   0
    "weights after update 1": 2e-7,  #                1.5e-8
    "weights after update 1, statistics": 2e-7,  #    6.3e-10
    "weights after update 12": 3e-6,  #               6.9e-7
    "weights after update 12, rms": 6e-8,  #          1.8e-8
    "weights after update 12, statistics": 3e-6,  #   1.9e-9
    "puzzle table after update 12": 1e-6,  #          0
    "H_init, L_init": 0,  #                           0
}

ROPE_STABLEMAX: Limits = {**FLOAT32, "forward logits": 6e-5, "weights after update 12": 1.2e-6}  # 9.3e-6, 2.7e-7

HIDDEN_512: Limits = {**FLOAT32, "forward q": 1e-4}  # not measured here: no such case is recorded; SPEC.md says 2.6e-5

BFLOAT16: Limits = {  # rounding differs from kernel to kernel: no more than this is the same everywhere
    "forward logits, rms": 0.1,  #                    0.045
    "forward steps, halted": 0,  #                    0
    "forward loss, relative": 1e-2,  #                3.9e-3
    "training logits, rms": 0.1,  #                   0.016
    "training steps, halted": 0,  #                   0
    "training data of each slot, exploration": 0,  #  0
    "training loss, relative": 1e-2,  #               2.1e-3
    "training counts, exact accuracy": 0,  #          0
    "training learning rates": 0,  #                  0
    "puzzle gradient, signs": 80,  #                  48
    "H_init, L_init": 0,  #                           0
}

DATA_ORDER: Limits = {"batches": 0, "examples chosen": 0, "puzzles chosen": 0, "set and size": 0}

INITIAL: Limits = {"continue row of the Q head": 0, "halted on a tie": 0}


def model_limits(name: str, hidden_size: int, dtype: str) -> Limits:
    """The limits of a recorded model case replayed in this dtype."""
    if dtype == "bfloat16":
        return BFLOAT16
    if name == "rope_stablemax_f32":
        return ROPE_STABLEMAX
    return HIDDEN_512 if hidden_size >= LARGE_HIDDEN_SIZE else FLOAT32


def judge(gap: float, limit: float, certified: bool) -> Verdict:
    """Hold a gap against its limit. NaN is broken."""
    if certified:
        return Verdict.OK if gap <= limit else Verdict.BROKEN
    return Verdict.UNCERTIFIED if gap <= limit * GPU_FACTOR else Verdict.BROKEN
