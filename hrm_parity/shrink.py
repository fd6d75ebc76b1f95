"""Cut a recorded case down to what a package can carry: the state z by its means, large tensors by every 16th row.

Usage: python -m hrm_parity.shrink GOLDEN_CASE OUT
"""

import hashlib
import json
import re
import sys
from pathlib import Path

import numpy as np
from safetensors.numpy import load_file, save

from hrm_core.backend import AnyArray, Arrays
from hrm_parity.compare import state_forms

ROWS = 16  # keep every 16th
LARGE = 1024  # elements; smaller tensors stay whole


def shrink(source: Path, target: Path) -> None:
    """Write a smaller case with the same numbers."""
    target.mkdir(parents=True, exist_ok=True)
    case = json.loads((source / "case.json").read_text())
    files = {
        "weights.safetensors": load_file(source / "weights.safetensors"),
        "forward.safetensors": _without_states(load_file(source / "forward.safetensors")),
        "train.safetensors": _by_rows(load_file(source / "train.safetensors")),
    }
    for name, tensors in files.items():
        content = save(tensors)
        (target / name).write_bytes(content)
        case["sha256"][name] = hashlib.sha256(content).hexdigest()
    case["row_subsampling"] = {"grad": ROWS, "w1": ROWS, "w12": ROWS}
    (target / "case.json").write_text(json.dumps(case, indent=1) + "\n")


def _without_states(tensors: Arrays) -> dict[str, AnyArray]:
    kept = {name: array for name, array in tensors.items() if name not in ("z_H", "z_L")}
    return kept | {
        name: form for z in ("z_H", "z_L") for name, form in state_forms(z, tensors[z]).items()
    }


def _by_rows(tensors: Arrays) -> dict[str, AnyArray]:
    """Keep every 16th row of weights and gradients, whatever was kept before."""
    smaller: dict[str, AnyArray] = {}
    for name, array in tensors.items():
        stored = re.fullmatch(r"(grad|w1|w12)(?:_rows(\d+))?/(.*)", name)
        if stored is None or (stored[2] is None and array.size <= LARGE):
            smaller[name] = array
        else:
            smaller[f"{stored[1]}_rows{ROWS}/{stored[3]}"] = np.ascontiguousarray(
                array[:: ROWS // int(stored[2] or 1)]
            )
    return smaller


if __name__ == "__main__":
    shrink(Path(sys.argv[1]), Path(sys.argv[2]))
