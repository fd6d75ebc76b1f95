"""What is refused before a request is looked at: foreign hosts, foreign pages, bodies that are too long.

A page of another site can make a browser send requests to this machine, and with a name that leads
here (DNS rebinding) read the answers, too. So the names of the Host header are checked, and where a
page sent the request, its origin.
"""

import ipaddress
import socket
from collections.abc import Callable
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

MAX_BODY = 4 * 1024 * 1024  # bytes
LOCAL = ("127.0.0.1", "localhost", "::1")
HEADERS = {
    # nothing comes from elsewhere, nor may another page frame this one
    "content-security-policy": "default-src 'self'; img-src 'self' data: blob:; "
    "frame-ancestors 'none'; base-uri 'none'; form-action 'none'",
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cache-control": "no-cache",  # a newer version of the package brings a newer page
}


class TooLongError(Exception):
    """The body of a request has more than `MAX_BODY` bytes."""


def is_local(host: str) -> bool:
    """Return True for a host that other machines do not reach."""
    return host in LOCAL


def allowed_names(host: str) -> Callable[[str], bool]:
    """Return a function that tells the names under which a server at `host` may be called.

    A server for other machines is called by its own names or a number, which rebinding cannot use.
    """
    if is_local(host):
        return is_local
    own = socket.gethostname().lower()
    names = {host.lower(), own, f"{own}.local", *LOCAL}
    return lambda name: name in names or _is_number(name)


def _is_number(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


class Guard:
    """Middleware that checks the names of a request and adds headers to the answer."""

    def __init__(self, app: ASGIApp, allows: Callable[[str], bool]) -> None:
        self._app = app
        self._allows = allows

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, or refuse it."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def send_guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    headers.setdefault(name, value)
            await send(message)

        fault = self._fault(Headers(scope=scope))
        if fault:
            await JSONResponse({"error": fault}, 403)(scope, receive, send_guarded)
        else:
            await self._app(scope, receive, send_guarded)

    def _fault(self, headers: Headers) -> str:
        """Say why a request is refused; "" if it is not."""
        host = headers.get("host", "")
        if not self._allows(_name_of(host)):
            return f"Host {host[:60]!r} is not served; call this server by the address it printed"
        origin = headers.get("origin")
        if origin is not None and urlsplit(origin).netloc != host:
            return f"a page of {origin[:60]!r} sent this; only the page of this server may"
        return ""


def _name_of(host: str) -> str:
    """Return the name in a Host header, without the port."""
    try:
        return urlsplit(f"//{host}").hostname or ""
    except ValueError:
        return ""


async def body_of(request: Request) -> bytes:
    """Read the body of a request.

    Raises: TooLongError as soon as it is too long.
    """
    declared = request.headers.get("content-length", "0")
    if declared.isdigit() and int(declared) > MAX_BODY:
        raise TooLongError
    parts, length = [], 0
    async for part in request.stream():
        length += len(part)
        if length > MAX_BODY:
            raise TooLongError
        parts.append(part)
    return b"".join(parts)
