"""Limits for the gaps of a backend to the published numbers and the referee, with the gaps measured.

Measured: MLX 0.32.4 and torch 2.13.0 on an x86-64 CPU (AMD EPYC, MKL, 2 cores) with `hrm parity --golden DIR`, the same with
`--backend torch`, and `hrm parity`. The limits and their reasons: docs/parity.md.
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
    """Meaning of a gap."""

    OK = "ok"
    BROKEN = "broken"
    UNCERTIFIED = (
        "not certified before"  # within the wider limits of a device where nobody has measured
    )
    UNKNOWN = "not compared"  # recorded, but no check knows what it is


FLOAT32: Limits = {  #                                worst gap measured: MLX, torch
    "forward logits": 2e-4,  #                        2.2e-5  2.8e-5
    "forward z": 4e-4,  #                             4.1e-5  3.5e-5
    "forward z, means": 4e-5,  #                      1.8e-7  3.4e-7
    "forward q": 2e-5,  #                             2.0e-6  2.0e-6
    "forward steps, halted": 0,  #                    0       0
    "forward loss, relative": 2e-5,  #                9.9e-7  1.6e-6
    "forward loss parts, of loss": 2e-5,  #           1.0e-6  1.7e-6
    "forward mean metrics": 1e-6,  #                  6.8e-8  6.8e-8
    "forward counts, exact accuracy": 0,  #           0       0
    "training logits": 6e-4,  #                       5.8e-5  3.7e-5
    "training z, means": 4e-5,  #                     4.5e-6  3.9e-6
    "training q": 1e-4,  #                            8.3e-6  5.1e-6
    "training target_q_continue": 1e-4,  #            5.5e-6  2.9e-6
    "training steps, halted": 0,  #                   0       0
    "training data of each slot, exploration": 0,  #  0       0
    "training loss, relative": 2e-5,  #               1.7e-6  1.5e-6
    "training loss parts, of loss": 2e-5,  #          1.5e-6  1.5e-6
    "training mean metrics": 1e-6,  #                 1.2e-7  1.2e-7
    "training counts, exact accuracy": 0,  #          0       0
    "training learning rates": 0,  #                  0       0
    "first gradient, of largest": 1e-5,  #            1.9e-6  2.2e-6
    "first gradient, statistics": 1e-5,  #            9.6e-8  1.5e-7
    "gradient norms, relative": 1e-3,  #              5.3e-5  1.5e-5
    "puzzle gradient, of largest": 2e-3,  #           6.5e-5  4.3e-5
    "puzzle gradient, signs": 0,  #                   0       0
    "weights after update 1": 2e-7,  #                1.5e-8  1.5e-8
    "weights after update 1, statistics": 2e-7,  #    7.5e-9  7.5e-9
    "weights after update 12": 3e-6,  #               4.1e-7  2.5e-7
    "weights after update 12, rms": 6e-8,  #          1.5e-8  1.2e-8
    "weights after update 12, statistics": 3e-6,  #   7.5e-9  7.5e-9
    "puzzle table after update 12": 1e-6,  #          0       0
    "H_init, L_init": 0,  #                           0       0
}

ROPE_STABLEMAX: Limits = {
    **FLOAT32,
    "forward logits": 6e-5,
    "weights after update 12": 1.2e-6,
}  # 7.1e-6 and 1.1e-5, 3.4e-7 and 2.4e-7

HIDDEN_512: Limits = {
    **FLOAT32,
    "forward q": 1e-4,
}  # not measured here: no such case is recorded; elsewhere 2.6e-5 was seen

# Rounding differs from kernel to kernel: no more than this is the same everywhere.
BFLOAT16: Limits = {  #                               worst gap measured: MLX, torch
    "forward logits, rms": 0.1,  #                    0.045   0.023
    "forward steps, halted": 0,  #                    0       0
    "forward loss, relative": 1e-2,  #                3.9e-3  8.3e-4
    "training logits, rms": 0.1,  #                   0.016   0.014
    "training steps, halted": 0,  #                   0       0
    "training data of each slot, exploration": 0,  #  0       0
    "training loss, relative": 1e-2,  #               2.1e-3  6.3e-4
    "training counts, exact accuracy": 0,  #          0       0
    "training learning rates": 0,  #                  0       0
    "puzzle gradient, signs": 80,  #                  48      45
    "H_init, L_init": 0,  #                           0       0
}

DATA_ORDER: Limits = {"batches": 0, "examples chosen": 0, "puzzles chosen": 0, "set and size": 0}

INITIAL: Limits = {"continue row of the Q head": 0, "halted on a tie": 0}

PARTS: Limits = {  #                            from the referee, every size: MLX, torch
    "rms_norm": 1e-5,  #                        1.5e-6  5.6e-7
    "RoPE": 2e-5,  #                            7.5e-6  7.5e-6
    "attention": 1e-5,  #                       1.0e-6  6.9e-7
    "SwiGLU": 1e-5,  #                          1.3e-6  1.3e-6
    "block": 1e-5,  #                           1.9e-6  1.3e-6
    "level": 2e-5,  #                           5.1e-6  4.6e-6
    "embedding": 1e-5,  #                       3.4e-6  3.4e-6
    "stablemax": 1e-6,  #                       7.0e-8  0
    "softmax": 1e-6,  #                         2.3e-8  2.4e-8
    "softmax in blocks": 1e-6,  #               9.0e-8  9.0e-8
    "cross entropy of Q": 1e-6,  #              1.2e-8  1.2e-8
    "gradients of these, of largest": 1e-5,  #  1.6e-6  2.1e-6
    "Adam-atan2, weights": 2e-7,  #             3.0e-8  3.0e-8
    "Adam-atan2, moments": 1e-6,  #             8.4e-8  6.0e-8
    "sign-SGD, rows": 2e-7,  #                  4.8e-8  4.8e-8
}

UPDATE: Limits = {  #                                 from the referee, every size: MLX, torch
    "logits": 5e-5,  #                                1.2e-5  1.2e-5
    "z": 1e-4,  #                                     1.9e-5  1.9e-5
    "q": 1e-5,  #                                     3.9e-6  4.2e-6
    "target_q_continue": 1e-5,  #                     1.0e-6  1.2e-6
    "steps, halted": 0,  #                            0       0
    "data of each slot": 0,  #                        0       0
    "losses, of loss": 5e-6,  #                       3.2e-7  2.6e-7
    "mean accuracy": 1e-6,  #                         2.4e-7  0
    "counts, exact accuracy": 0,  #                   0       0
    "gradients, of largest": 5e-5,  #                 9.1e-6  1.5e-5
    "puzzle gradient, of largest": 5e-5,  #           5.5e-6  1.6e-5
    "weights after the update": 5e-7,  #              1.4e-7  1.5e-7
    "average of the weights": 5e-7,  #                3.7e-8  4.5e-8
    "puzzle table after the update": 2e-7,  #         2.3e-8  2.3e-8
    "moments after the update, of largest": 1e-4,  #  1.1e-5  2.4e-5
    "H_init, L_init": 0,  #                           0       0
}

# Free-running, so with the limits of recorded forward runs: rounding grows from step to step.
CHUNKS: Limits = {  #                                 from the referee, four steps: MLX, torch
    "logits": 2e-4,  #                                7.9e-5  7.8e-5
    "z": 4e-4,  #                                     1.4e-4  1.2e-4
}

# At the paper's size a backend may also miss the referee by no more than so many times what PyTorch's float32 misses, which is
# never counted as less than one rounding. Measured ratios of one update: 0.8 to 1.4, of its losses 3.5 (each a single number).
NOISE_FACTOR = 4
ROUNDING = 2.0**-23
NOISY = frozenset(name for name, limit in UPDATE.items() if limit and name != "mean accuracy")

# Weights of the first update that rounding alone turned. Measured: MLX 17 of 27 million, where torch turned 12; 2 of 3 million.
TURNED_FEW = (
    10  # as many are always allowed, and as NOISE_FACTOR times what PyTorch's float32 turns
)

# Two backends trained from one seed.
SAME_DECISIONS = 30  # first updates in which no halting decision differs
TRAINED = 0.8  # exact accuracy from which on the two are compared
APART = 0.03  # exact accuracy
UNTRAINED_APART = 0.5  # how far the untrained control must stay below


def model_limits(name: str, hidden_size: int, dtype: str) -> Limits:
    """The limits of a recorded model case replayed in this dtype."""
    if dtype == "bfloat16":
        return BFLOAT16
    if name == "rope_stablemax_f32":
        return ROPE_STABLEMAX
    return HIDDEN_512 if hidden_size >= LARGE_HIDDEN_SIZE else FLOAT32


def of_noise(noise: float) -> float:
    """The limit that the noise of PyTorch's float32 sets at the paper's size."""
    return NOISE_FACTOR * max(noise, ROUNDING)


def judge(gap: float, limit: float, certified: bool) -> Verdict:
    """Hold a gap against its limit. NaN is broken."""
    if certified:
        return Verdict.OK if gap <= limit else Verdict.BROKEN
    return Verdict.UNCERTIFIED if gap <= limit * GPU_FACTOR else Verdict.BROKEN
