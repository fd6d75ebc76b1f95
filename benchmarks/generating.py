"""Greedy text with kept keys and values, and by a forward of the whole window for each token, in turn.

python -m benchmarks.generating runs/shakespeare --tokens 500
python -m benchmarks.generating runs/shakespeare --backend torch

Prints whether both texts are the same, tokens a second of each in processor time, and their ratio for
the tokens that fit into the window and for those behind it, where it moves.
"""

import argparse
import json
import time
from pathlib import Path

from hrm_core.backends import BackendMaker
from hrm_core.inference.generating import (
    Cached,
    Predictor,
    Sampling,
    Uncached,
    continue_tokens,
    require_generative,
)
from hrm_core.inference.loading import task_of
from hrm_core.runs.checkpoint import open_model


def main() -> None:
    """Print the figures as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", type=Path)
    parser.add_argument("--backend", choices=["mlx", "torch"], default="mlx")
    parser.add_argument("--tokens", type=int, default=500)
    parser.add_argument("--prompt", default="ROMEO:")
    chosen = parser.parse_args()
    model = open_model(chosen.model)
    backend = BackendMaker(chosen.backend, "cpu", "float32")(model.config)
    backend.load_weights(model.weights)
    task = require_generative(task_of(model), model.config)
    prompt = task.encode(chosen.prompt)
    in_window = min(chosen.tokens, model.config.seq_len - len(prompt))
    texts, speeds = [], []
    for kind in (Cached, Uncached):
        predictor: Predictor = kind(backend, len(prompt))
        tokens, times = [], [time.process_time()]
        for found in continue_tokens(backend, task, prompt, chosen.tokens, Sampling(), predictor):
            tokens.append(found.token)
            times.append(time.process_time())
        texts.append(tokens)
        moving = len(tokens) - in_window
        speeds.append(
            (
                in_window / (times[in_window] - times[0]),
                moving / (times[-1] - times[in_window]) if moving else None,
            )
        )
    (cached, cached_moving), (whole, whole_moving) = speeds
    record = {
        "tokens": len(texts[0]),
        "same_text": texts[0] == texts[1],
        "cached_tokens_per_second": round(cached, 1),
        "whole_tokens_per_second": round(whole, 1),
        "ratio_in_window": round(cached / whole, 2),
    }
    if cached_moving and whole_moving:
        record["moving_tokens_per_second"] = round(cached_moving, 1)
        record["ratio_moving"] = round(cached_moving / whole_moving, 2)
    print(json.dumps(record))


if __name__ == "__main__":
    main()
