"""Workers: what is evaluated where, when several threads of a program ask for it."""

import threading
from concurrent.futures import ThreadPoolExecutor

import mlx.core as mx
import pytest

from hrm_mlx import workers
from hrm_mlx.workers import Workers


def test_each_stream_is_evaluated_by_one_thread_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two threads on one stream corrupt memory; which of them meet is a matter of luck."""
    evaluate, seen = workers._evaluate, set()

    def noted(stream: mx.Stream, result: object) -> None:
        seen.add((str(stream), threading.get_ident()))
        evaluate(stream, result)

    monkeypatch.setattr(workers, "_evaluate", noted)
    shared = Workers(2)

    def total(number: int) -> float:
        parts = shared.map(lambda part: mx.arange(100) * number + part, [0, 1])
        return float(sum(part.sum().item() for part in parts))

    with ThreadPoolExecutor(8) as callers:
        found = list(callers.map(total, range(64)))
    assert found == [2 * 4950 * number + 100 for number in range(64)]
    assert len({stream for stream, _ in seen}) == len(seen) == 2
