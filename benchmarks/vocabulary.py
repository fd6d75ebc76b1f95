"""A large vocabulary in blocks of rows, next to one array of all logits, taken in turn; and the peak memory of an update and of `hrm eval`.

python -m benchmarks.vocabulary
python -m benchmarks.vocabulary --backend torch --dtype bfloat16

Head and loss: from z_H to the loss, the likeliest tokens and both gradients. Update: all of it. Ratios of pairs, median and range, in wall
time and in processor time of all threads. Each peak is the resident memory of a process of its own.
"""

import argparse
import json
import statistics
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from functools import partial
from importlib import import_module
from multiprocessing import get_context
from typing import Any

import numpy as np

from hrm_core import config as configs
from hrm_core.backend import Backend, Batch
from hrm_core.backends import BackendMaker
from hrm_core.config import ModelConfig, OptimConfig
from hrm_core.inference.slots import Questions, think
from hrm_core.parameters import initial_values
from hrm_core.process import peak_memory
from hrm_core.schedule import rates

SLOTS, EVAL_SLOTS = 8, 256  # the second is the default of `hrm eval`
OPTIM = OptimConfig(lr=1e-4, puzzle_emb_lr=1e-4, lr_warmup_steps=0)
CONFIG = ModelConfig(
    vocab_size=50265,
    seq_len=127,
    num_puzzle_identifiers=1,
    puzzle_emb_ndim=128,
    H_layers=2,
    L_layers=2,
    hidden_size=128,
    num_heads=4,
    halt_max_steps=2,
    loss_type="softmax_cross_entropy",
)

Run = Callable[[], object]


@contextmanager
def all_logits_at_once() -> Iterator[None]:
    """Let every vocabulary take the path of small ones."""
    small, configs.SMALL_VOCABULARY = configs.SMALL_VOCABULARY, CONFIG.vocab_size
    try:
        yield
    finally:
        configs.SMALL_VOCABULARY = small


def random_batch(slots: int) -> Batch:
    rng = np.random.default_rng(0)
    tokens = rng.integers(0, CONFIG.vocab_size, (2, slots, CONFIG.seq_len), np.int32)
    return Batch(tokens[0], tokens[1], np.zeros(slots, np.int32))


def trained(maker: BackendMaker, slots: int = SLOTS) -> Backend:
    """A backend ready for its first update."""
    backend = maker(CONFIG)
    backend.load_weights(initial_values(CONFIG, seed=0))
    backend.begin_training(OPTIM, slots)
    return backend


def update(backend: Backend) -> None:
    scalars = rates(1, 10, OPTIM)
    backend.update(random_batch(SLOTS), np.zeros(SLOTS, np.int32), scalars).read()


def head_and_loss_mlx(dtype: str) -> tuple[Run, Run]:
    """The same in blocks and with all logits at once."""
    from hrm_mlx import losses

    mx = import_module("mlx.core")
    num_rows = SLOTS * CONFIG.seq_len
    of_dtype = getattr(mx, dtype)
    hidden = mx.random.normal((num_rows, CONFIG.hidden_size)).astype(of_dtype)
    weight = 0.1 * mx.random.normal((CONFIG.vocab_size, CONFIG.hidden_size)).astype(of_dtype)
    labels = mx.random.randint(0, CONFIG.vocab_size, (num_rows,))
    shares = mx.full((num_rows,), 1 / num_rows)
    mx.eval(hidden, weight, labels, shares)

    def plain(hidden: Any, weight: Any) -> Any:
        logits = hidden @ weight.T
        values = losses.softmax_cross_entropy(logits, labels)
        return (values * shares).sum(), mx.argmax(logits, axis=-1)

    def in_blocks(hidden: Any, weight: Any) -> Any:
        return losses.softmax_in_blocks(hidden, weight, labels, shares)

    def run(function: Any) -> None:
        mx.eval(mx.value_and_grad(function, argnums=(0, 1))(hidden, weight))

    return partial(run, in_blocks), partial(run, plain)


def head_and_loss_torch(dtype: str) -> tuple[Run, Run]:
    """The same in blocks and with all logits at once."""
    from hrm_torch_ref import losses

    torch = import_module("torch")
    num_rows = SLOTS * CONFIG.seq_len
    of_dtype = getattr(torch, dtype)
    hidden = torch.randn(num_rows, CONFIG.hidden_size).to(of_dtype).requires_grad_()
    weight = torch.randn(CONFIG.vocab_size, CONFIG.hidden_size).mul(0.1).to(of_dtype)
    weight.requires_grad_()
    labels = torch.randint(0, CONFIG.vocab_size, (num_rows,))
    shares = torch.full((num_rows,), 1 / num_rows)

    def plain() -> None:
        logits = hidden @ weight.T
        logits.argmax(dim=-1)
        loss = (losses.softmax_cross_entropy(logits, labels) * shares).sum()
        torch.autograd.grad(loss, (hidden, weight))

    def in_blocks() -> None:
        loss, _ = losses.softmax_in_blocks(hidden, weight, labels, shares)
        torch.autograd.grad(loss, (hidden, weight))

    return in_blocks, plain


def pair_of_updates(maker: BackendMaker) -> tuple[Run, Run]:
    """An update in blocks, and one with all logits at once."""
    backends = trained(maker), trained(maker)

    def plain() -> None:
        with all_logits_at_once():
            update(backends[1])

    return partial(update, backends[0]), plain


def paired(in_blocks: Run, plain: Run, repeats: int) -> dict[str, object]:
    """Seconds of the one, and how many times as long the other takes."""
    times: dict[str, list[tuple[float, float]]] = {"wall": [], "processor": []}
    for _ in range(repeats + 1):
        found = []
        for run in (in_blocks, plain):
            began = time.perf_counter(), time.process_time()
            run()
            found.append((time.perf_counter() - began[0], time.process_time() - began[1]))
        for kind, pair in zip(times, zip(*found, strict=True), strict=True):
            times[kind].append(pair)
    result: dict[str, object] = {}
    for kind, pairs in times.items():
        ratios = sorted(slow / fast for fast, slow in pairs[1:])  # the first one warms up
        result[f"{kind}_seconds"] = round(statistics.median(fast for fast, _ in pairs[1:]), 3)
        result[f"{kind}_ratio"] = round(statistics.median(ratios), 2)
        result[f"{kind}_range"] = [round(ratios[0], 2), round(ratios[-1], 2)]
    return result


def peak(maker: BackendMaker, what: str, plain: bool) -> float:
    """GiB that this process held at most after two updates, or an evaluation of more examples than one batch."""
    from contextlib import nullcontext

    with all_logits_at_once() if plain else nullcontext():
        if what == "update":
            backend = trained(maker)
            for _ in range(2):
                update(backend)
        else:
            backend = maker(CONFIG)
            backend.load_weights(initial_values(CONFIG, seed=0))
            batch = random_batch(EVAL_SLOTS + 8)
            questions = Questions.unlabelled(batch.inputs, batch.puzzle_identifiers)
            for result in think(backend, iter([questions]), EVAL_SLOTS):
                result.answers.label_losses(result.questions.inputs)
    return round(peak_memory() / 2**30, 2)


def main() -> None:
    """Print the figures as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--backend", choices=["mlx", "torch"], default="mlx")
    parser.add_argument("--dtype", default="float32")
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--peak-of-plain", action="store_true", help="takes 8 GB and more")
    chosen = parser.parse_args()
    maker = BackendMaker(chosen.backend, "cpu", chosen.dtype)
    heads = {"mlx": head_and_loss_mlx, "torch": head_and_loss_torch}[chosen.backend]
    found: dict[str, object] = vars(chosen)
    # first: a process begins with the peak of the one that starts it
    for plain in [False, True] if chosen.peak_of_plain else [False]:
        for what in ("update", "evaluation"):
            with ProcessPoolExecutor(1, get_context("spawn")) as pool:
                name = f"peak GiB of {what}{', plain' if plain else ''}"
                found[name] = pool.submit(peak, maker, what, plain).result()
    maker(CONFIG)  # loads the framework, and the BLAS before it
    found["head and loss"] = paired(*heads(chosen.dtype), chosen.repeats)
    found["update"] = paired(*pair_of_updates(maker), chosen.repeats)
    print(json.dumps(found, indent=2))


if __name__ == "__main__":
    main()
