"""The requests of the page and of programs, and the server that takes them.

    GET  /                 the page
    GET  /health           is it up, and how many jobs wait
    GET  /api/model        the model, its board and its options
    GET  /api/sample       a puzzle: ?band=2&number=17
    POST /api/read         a text or a file (?name=maze.png) -> its puzzles
    POST /api/solve        puzzles -> solutions, as `hrm solve --json`
    POST /api/watch        one puzzle -> events: its place, every ACT step, the solution
    POST /api/generate     a prompt -> events: its place, every token, the end
    POST /api/predict      a file (?name=match.json&at=2:14.3) -> outcomes

What a user can mend is answered with status 400 and {"error": one line}.
"""

import asyncio
import json
import socket
import traceback
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from types import FrameType
from typing import Any

import anyio.to_thread
import uvicorn
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import FileResponse, JSONResponse, Response, StreamingResponse
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles

from hrm_core.draws import Purpose, stream
from hrm_core.errors import HRMError, PuzzleError, RunError
from hrm_core.inference.generating import require_generative
from hrm_core.messages import one_line
from hrm_core.tasks.capabilities import Polled, Question, Readable
from hrm_web import work
from hrm_web.guard import MAX_BODY, Guard, TooLongError, allowed_names, body_of
from hrm_web.site import Site
from hrm_web.wishes import text_wish_of, wish_of
from hrm_web.worker import DONE, FAILED, Event, FullError, StoppedError, Work, Worker

STATIC = Path(__file__).parent / "static"
BACKLOG = 128  # connections that wait to be accepted
GRACE = 2  # seconds that open connections may take when the server stops
UNSOLVED = "the server failed; its terminal says why"


class Desk:
    """Answers requests with one model."""

    def __init__(self, site: Site, worker: Worker) -> None:
        self._site = site
        self._worker = worker

    @property
    def routes(self) -> list[Route | Mount]:
        """Return what answers each path."""
        return [
            Route("/", self.page),
            Route("/health", self.health),
            Route("/api/model", self.model),
            Route("/api/sample", self.sample),
            Route("/api/read", self.read, methods=["POST"]),
            Route("/api/solve", self.solve, methods=["POST"]),
            Route("/api/watch", self.watch, methods=["POST"]),
            Route("/api/generate", self.generate, methods=["POST"]),
            Route("/api/predict", self.predict, methods=["POST"]),
            Mount("/static", StaticFiles(directory=STATIC)),
        ]

    async def page(self, request: Request) -> Response:
        """Return the page."""
        return FileResponse(STATIC / "index.html")

    async def health(self, request: Request) -> Response:
        """Say that the server is up."""
        return JSONResponse(
            {"status": "ok", "model": self._site.name, "jobs": self._worker.num_jobs}
        )

    async def model(self, request: Request) -> Response:
        """Describe the model."""
        return JSONResponse(self._site.described())

    async def sample(self, request: Request) -> Response:
        """Draw a puzzle; the same number draws the same one."""
        samples = self._site.samples
        if samples is None:
            raise PuzzleError("this model has no puzzles at hand; name its data set with --data")
        number = _number(request, "number") or 0
        band = _number(request, "band")
        rng = stream(number, Purpose.PUZZLES)
        drawn = await anyio.to_thread.run_sync(samples.draw, rng, band)
        question = Question(drawn.tokens, drawn.name, drawn.solution)
        return JSONResponse(self._shown(question) | {"rating": drawn.rating})

    async def read(self, request: Request) -> Response:
        """Read the puzzles of a text or a file."""
        body = await body_of(request)
        name = request.query_params.get("name", "")
        return JSONResponse({"puzzles": await anyio.to_thread.run_sync(self._read, name, body)})

    async def solve(self, request: Request) -> Response:
        """Solve puzzles and return the solutions together."""
        wish = wish_of(await body_of(request))
        questions = await anyio.to_thread.run_sync(work.asked, wish, self._site.task)
        return JSONResponse({"solutions": await self._done(request, work.solving(wish, questions))})

    async def watch(self, request: Request) -> Response:
        """Solve one puzzle and stream every ACT step."""
        wish = wish_of(await body_of(request))
        questions = await anyio.to_thread.run_sync(work.asked, wish, self._site.task)
        if len(questions) != 1:
            raise PuzzleError(f"{len(questions):,} puzzles; choose one with only=0 and so on")
        return await self._streamed(work.thinking(wish, questions[0]))

    async def generate(self, request: Request) -> Response:
        """Go on with a text and stream every token."""
        wish = text_wish_of(await body_of(request))
        task = require_generative(self._site.task, self._site.config)
        await anyio.to_thread.run_sync(task.encode, wish.prompt)  # or it is refused
        return await self._streamed(work.generating(wish))

    async def predict(self, request: Request) -> Response:
        """Predict what a file asks about."""
        content = await body_of(request)
        texts = dict(request.query_params)
        name = texts.pop("name", "")
        job = work.predicting(name, content, texts)
        return JSONResponse(await self._done(request, job))

    def _read(self, name: str, body: bytes) -> list[dict[str, Any]]:
        return [self._shown(each) for each in work.read_sent(self._site.task, name, body)]

    def _shown(self, question: Question) -> dict[str, Any]:
        """Return a question as the page takes it."""
        task = self._site.task
        shown = {"tokens": question.tokens.tolist(), "text": "", "name": question.name}
        if isinstance(task, Readable):
            shown["text"] = task.format(question.tokens)
            if isinstance(task, Polled) and question.solution is not None:
                shown["solution"] = task.format(question.solution)
        return shown

    async def _done(self, request: Request, job: Work) -> Any:
        """Wait for the result of a job; the job is cancelled if the client goes away."""
        events = self._worker.events(job)
        waiting = asyncio.ensure_future(_last(events))
        gone = asyncio.ensure_future(_gone(request))
        try:
            await asyncio.wait([waiting, gone], return_when=asyncio.FIRST_COMPLETED)
            if not waiting.done():
                return None  # nobody reads it
            return waiting.result()
        finally:
            for task in (waiting, gone):
                task.cancel()
            await asyncio.gather(waiting, gone, return_exceptions=True)

    async def _streamed(self, job: Work) -> Response:
        """Stream the events of a job as they come. Raises: FullError if too many jobs wait."""
        events = self._worker.events(job)
        first = await anext(events)
        return StreamingResponse(
            _lines(first, events),
            media_type="text/event-stream",
            headers={"cache-control": "no-store", "x-accel-buffering": "no"},
        )


async def _last(events: AsyncIterator[Event]) -> Any:
    """Return the result of a job. Raises: what the job raised."""
    async for event in events:
        if event.name == FAILED:
            raise event.data
        if event.name == DONE:
            return event.data
    raise AssertionError("the last event of a job is DONE or FAILED")


async def _gone(request: Request) -> None:
    """Wait until the client goes away; its body has been read."""
    while (await request.receive())["type"] != "http.disconnect":
        continue


async def _lines(first: Event, events: AsyncIterator[Event]) -> AsyncIterator[str]:
    """Write events in the format of server-sent events."""
    try:
        yield _sent(first)
        async for event in events:
            yield _sent(event)
    finally:
        await events.aclose()  # type: ignore[attr-defined]  # an async generator


def _sent(event: Event) -> str:
    data = event.data
    if event.name == FAILED:
        data = {"error": _message(data)}
    return f"event: {event.name}\ndata: {json.dumps(data)}\n\n"


def _message(error: Exception) -> str:
    """Return the line of an error; one that is not the user's goes to the terminal."""
    if isinstance(error, HRMError):
        return one_line(error)
    traceback.print_exception(error)
    return UNSOLVED


def _number(request: Request, name: str) -> int | None:
    """Read a whole number of the query. Raises: PuzzleError."""
    text = request.query_params.get(name, "")
    if not text:
        return None
    if not (text.isascii() and text.isdigit() and len(text) < 10):
        raise PuzzleError(f"{name}={text[:40]!r}; expected a whole number below 1,000,000,000")
    return int(text)


async def _refused(request: Request, error: Exception) -> Response:
    """Answer a mistake of the user."""
    return JSONResponse({"error": one_line(error)}, 400)


async def _too_long(request: Request, error: Exception) -> Response:
    message = f"the body has more than {MAX_BODY:,} bytes; send less at once"
    return JSONResponse({"error": message}, 413, headers={"connection": "close"})


async def _full(request: Request, error: Exception) -> Response:
    message = "too many wait for this model; try again in a moment"
    return JSONResponse({"error": message}, 503, headers={"retry-after": "5"})


async def _stopped(request: Request, error: Exception) -> Response:
    return JSONResponse({"error": one_line(error)}, 503)


async def _cut_off(request: Request, error: Exception) -> Response:
    return Response(status_code=400)  # nobody reads it


async def _failed(request: Request, error: Exception) -> Response:
    return JSONResponse({"error": UNSOLVED}, 500)


async def _http_error(request: Request, error: Any) -> Response:
    """Answer an unknown path or method."""
    message = f"{request.method} {request.url.path[:60]}: {error.detail}"
    return JSONResponse({"error": message}, error.status_code)


def make_app(site: Site, worker: Worker, host: str) -> Starlette:
    """Make the application; `worker` runs while it does."""

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        try:
            yield
        finally:
            worker.stop()

    return Starlette(
        routes=Desk(site, worker).routes,
        middleware=[Middleware(Guard, allows=allowed_names(host))],
        exception_handlers={
            HRMError: _refused,
            TooLongError: _too_long,
            FullError: _full,
            StoppedError: _stopped,
            ClientDisconnect: _cut_off,
            HTTPException: _http_error,
            Exception: _failed,
        },
        lifespan=lifespan,
    )


def listen(host: str, port: int) -> socket.socket:
    """Open the port. Raises: RunError if it is taken, or there is no such host here."""
    opened = None
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        opened = socket.socket(family, socket.SOCK_STREAM)
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        opened.bind((host, port))
        opened.listen(BACKLOG)  # whoever reads the address may call at once
    except OSError as error:
        if opened is not None:
            opened.close()
        reason = error.strerror or error
        raise RunError(
            f"{host}:{port} cannot be opened ({reason}); choose another --port or --host"
        ) from error
    return opened


class _Server(uvicorn.Server):
    """A server that ends open streams when it is told to stop, or it would wait for them."""

    def __init__(self, config: uvicorn.Config, worker: Worker) -> None:
        super().__init__(config)
        self._worker = worker

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Stop on a signal."""
        self._worker.end_jobs()
        super().handle_exit(sig, frame)


def serve(app: Starlette, worker: Worker, opened: socket.socket) -> None:
    """Answer requests until the process is interrupted."""
    config = uvicorn.Config(
        app,
        log_level="warning",
        access_log=False,
        backlog=BACKLOG,
        timeout_graceful_shutdown=GRACE,
        server_header=False,
    )
    _Server(config, worker).run(sockets=[opened])
