"""One thread that owns the model, and the queue before it.

A framework's arrays belong to the thread that made them, so the model is loaded in the thread that
computes. Jobs are done one after the other, in the order in which they came; each that waits is told
its place whenever it changes. A job that is cancelled ends at its next ACT step or token.
"""

import asyncio
import threading
from collections import deque
from collections.abc import AsyncIterator, Callable
from typing import Any, NamedTuple

from hrm_core.errors import RunError
from hrm_core.inference.solving import Solver

MAX_WAITING = 64  # jobs
PLACE, DONE, FAILED = "place", "done", "failed"  # names of events


class UnwantedError(Exception):
    """Nobody waits for the result of a job any more."""


class FullError(Exception):
    """Too many jobs wait."""


class StoppedError(RunError):
    """The server stops before a job is done."""

    def __init__(self) -> None:
        super().__init__("the server has stopped; start hrm serve again")


class Event(NamedTuple):
    """News of a job."""

    name: str
    data: Any


Tell = Callable[[str, Any], None]
Work = Callable[[Solver, Tell], Any]


class Job:
    """A piece of work for the model. It is made in the event loop that waits for its events."""

    def __init__(self, work: Work) -> None:
        self.work = work
        self.is_cancelled = False
        self._loop = asyncio.get_running_loop()
        self._events: asyncio.Queue[Event] = asyncio.Queue()

    def tell(self, name: str, data: Any) -> None:
        """Send an event, from any thread. Raises: UnwantedError if nobody waits for it."""
        if self.is_cancelled:
            raise UnwantedError
        try:
            self._loop.call_soon_threadsafe(self._events.put_nowait, Event(name, data))
        except RuntimeError as error:  # the loop is closed: the server has stopped
            raise UnwantedError from error

    async def next_event(self) -> Event:
        """Wait for the next event."""
        return await self._events.get()


class Worker:
    """The thread that owns the model."""

    def __init__(self, make_solver: Callable[[], Solver]) -> None:
        """`make_solver` is called in the thread."""
        self._make_solver = make_solver
        self._change = threading.Condition()
        self._waiting: deque[Job] = deque()
        self._current: Job | None = None
        self._is_stopped = False
        self._started: deque[Exception | None] = deque()
        self._thread = threading.Thread(target=self._run, name="model", daemon=True)

    def start(self) -> None:
        """Load the model and wait until it is there. Raises: what `make_solver` raises."""
        self._thread.start()
        with self._change:
            self._change.wait_for(lambda: self._started)
        (error,) = self._started
        if error is not None:
            raise error

    def end_jobs(self) -> None:
        """Tell every job that the server stops, and take no more. May be called by a signal."""
        with self._change:
            self._is_stopped = True
            for job in [self._current, *self._waiting]:
                if job is not None and not job.is_cancelled:
                    job.tell(FAILED, StoppedError())
                    job.is_cancelled = True
            self._waiting.clear()
            self._change.notify_all()

    def stop(self) -> None:
        """End every job, then the thread."""
        self.end_jobs()
        self._thread.join()

    @property
    def num_jobs(self) -> int:
        """Count the jobs that wait, and the one that is done now."""
        with self._change:
            return len(self._waiting) + (self._current is not None)

    async def events(self, work: Work) -> AsyncIterator[Event]:
        """Do a piece of work and yield its events; the last is DONE, with its result, or FAILED.

        The job is cancelled if its events are not read to the end.

        Raises: FullError if too many wait; StoppedError if the server stops.
        """
        job = Job(work)
        self._submit(job)
        try:
            while True:
                event = await job.next_event()
                yield event
                if event.name in (DONE, FAILED):
                    return
        finally:
            self._cancel(job)

    def _submit(self, job: Job) -> None:
        with self._change:
            if self._is_stopped:
                raise StoppedError
            if len(self._waiting) >= MAX_WAITING:
                raise FullError
            self._waiting.append(job)
            self._tell_places(len(self._waiting) - 1)
            self._change.notify_all()

    def _cancel(self, job: Job) -> None:
        with self._change:
            job.is_cancelled = True
            if job in self._waiting:
                self._waiting.remove(job)
                self._tell_places()

    def _tell_places(self, start: int = 0) -> None:
        """Tell the jobs that wait, from a place on, how many are before them."""
        is_busy = self._current is not None
        for place, job in enumerate(self._waiting):
            if place >= start and not job.is_cancelled:
                job.tell(PLACE, {"before": place + is_busy})

    def _run(self) -> None:
        solver, error = None, None
        try:
            solver = self._make_solver()
        except Exception as raised:  # whatever it is, `start` raises it
            error = raised
        with self._change:
            self._started.append(error)
            self._change.notify_all()
        while solver is not None and (job := self._next()):
            self._do(job, solver)

    def _next(self) -> Job | None:
        """Wait for the next job. Returns: None when the thread shall end."""
        with self._change:
            self._current = None
            self._change.wait_for(lambda: self._waiting or self._is_stopped)
            if self._is_stopped:
                return None
            self._current = self._waiting.popleft()
            self._tell_places()
            return self._current

    def _do(self, job: Job, solver: Solver) -> None:
        try:
            try:
                outcome = Event(DONE, job.work(solver, job.tell))
            except UnwantedError:
                return
            except Exception as error:
                outcome = Event(FAILED, error)
            job.tell(*outcome)
        except UnwantedError:
            return
