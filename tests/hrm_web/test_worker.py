"""The queue before the model, with work that needs no model."""

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from typing import Any

import pytest

from hrm_core.errors import PuzzleError
from hrm_core.inference.solving import Solver
from hrm_web.worker import DONE, FAILED, MAX_WAITING, PLACE, Event, FullError, Tell, Worker


@pytest.fixture
def worker() -> Iterator[Worker]:
    found = Worker(lambda: object())  # type: ignore[arg-type, return-value]
    found.start()
    yield found
    found.stop()


class Gate:
    """Work that goes on when it is told to."""

    def __init__(self) -> None:
        self.has_begun, self.may_go = threading.Event(), threading.Event()
        self.steps = 0

    def work(self, solver: Solver, tell: Tell) -> str:
        self.has_begun.set()
        assert self.may_go.wait(10)
        while self.steps < 1000:
            self.steps += 1
            tell("step", self.steps)
        return "gate"


def number(value: int) -> Callable[[Solver, Tell], int]:
    return lambda solver, tell: value


async def all_of(events: AsyncIterator[Event]) -> list[Event]:
    return [event async for event in events]


def run(main: Coroutine[Any, Any, None]) -> None:
    asyncio.run(asyncio.wait_for(main, 20))


def test_jobs_are_done_in_order_and_each_is_told_its_place(worker: Worker) -> None:
    async def main() -> None:
        gate = Gate()
        first = asyncio.ensure_future(all_of(worker.events(gate.work)))
        await asyncio.to_thread(gate.has_begun.wait)
        others = []
        for value in range(3):
            others.append(asyncio.ensure_future(all_of(worker.events(number(value)))))
            await asyncio.sleep(0.01)
        assert worker.num_jobs == 4
        gate.may_go.set()
        assert (await first)[-1] == Event(DONE, "gate")
        for value, events in enumerate(await asyncio.gather(*others)):
            places = [event.data["before"] for event in events if event.name == PLACE]
            assert places == list(range(value + 1, 0, -1))
            assert events[-1] == Event(DONE, value)

    run(main())


def test_a_job_that_is_cancelled_while_it_waits_is_never_done(worker: Worker) -> None:
    async def main() -> None:
        gate, done = Gate(), []
        first = asyncio.ensure_future(all_of(worker.events(gate.work)))
        await asyncio.to_thread(gate.has_begun.wait)
        given_up = worker.events(lambda solver, tell: done.append("given up"))
        assert await anext(given_up) == Event(PLACE, {"before": 1})
        last = worker.events(number(7))
        assert await anext(last) == Event(PLACE, {"before": 2})
        await given_up.aclose()  # type: ignore[attr-defined]
        assert await anext(last) == Event(PLACE, {"before": 1})
        gate.may_go.set()
        await first
        assert (await all_of(last))[-1] == Event(DONE, 7)
        assert not done

    run(main())


def test_a_job_that_is_cancelled_at_work_ends_at_its_next_step(worker: Worker) -> None:
    async def main() -> None:
        gate = Gate()
        events = worker.events(gate.work)
        await anext(events)
        await asyncio.to_thread(gate.has_begun.wait)
        await events.aclose()  # type: ignore[attr-defined]
        gate.may_go.set()
        assert (await all_of(worker.events(number(1))))[-1] == Event(DONE, 1)
        assert gate.steps == 1

    run(main())


def test_an_error_of_a_job_is_told_and_the_next_is_done(worker: Worker) -> None:
    def fail(solver: Solver, tell: Tell) -> None:
        raise PuzzleError("no puzzle")

    async def main() -> None:
        name, error = (await all_of(worker.events(fail)))[-1]
        assert (name, str(error)) == (FAILED, "no puzzle")
        assert (await all_of(worker.events(number(2))))[-1] == Event(DONE, 2)

    run(main())


def test_a_full_queue_refuses_one_more(worker: Worker) -> None:
    async def main() -> None:
        gate = Gate()
        jobs = [worker.events(gate.work)]
        await anext(jobs[0])
        await asyncio.to_thread(gate.has_begun.wait)
        for _ in range(MAX_WAITING):
            jobs.append(worker.events(number(0)))
            await anext(jobs[-1])
        with pytest.raises(FullError):
            await anext(worker.events(number(0)))
        for job in jobs:
            await job.aclose()  # type: ignore[attr-defined]
        gate.may_go.set()
        assert (await all_of(worker.events(number(3))))[-1] == Event(DONE, 3)

    run(main())


def test_an_error_while_the_model_is_loaded_is_raised_by_start() -> None:
    def fail() -> Solver:
        raise PuzzleError("no model")

    with pytest.raises(PuzzleError, match="no model"):
        Worker(fail).start()


def test_stop_ends_the_job_at_work() -> None:
    worker = Worker(lambda: object())  # type: ignore[arg-type, return-value]
    worker.start()

    async def main() -> None:
        gate = Gate()
        events = worker.events(gate.work)
        await anext(events)
        await asyncio.to_thread(gate.has_begun.wait)
        threading.Timer(0.05, gate.may_go.set).start()
        await asyncio.to_thread(worker.stop)
        assert gate.steps == 1
        await events.aclose()  # type: ignore[attr-defined]

    run(main())
