"""`hrm serve` as a process: its address, its end, and clients that go away."""

import http.client
import json
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from urllib.request import urlopen

import pytest

for package in ("starlette", "uvicorn", "httpx2"):
    pytest.importorskip(package, reason=f"{package} is missing: the page is not tested")

Running = Callable[..., tuple[subprocess.Popen[str], str]]
Refusal = Callable[..., str]

HARD = ".4.......23.....6...521.4....7....4.....2...389...3....2.7...15.7.1.5.......3.7.9"

WITHOUT = """
import sys
from hrm_cli.main import main

class Missing:
    def find_spec(self, name, path=None, target=None):
        if name == "starlette":
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Missing())
sys.argv = ["hrm", "serve"]
raise SystemExit(main())
"""


def ask(address: str, path: str) -> Any:
    with urlopen(address + path, timeout=20) as answer:
        return json.load(answer)


def cut_off(address: str) -> None:
    """Go away in the middle of a body."""
    place = urlsplit(address)
    with socket.create_connection((place.hostname, place.port)) as client:
        head = f"POST /api/solve HTTP/1.1\r\nHost: {place.netloc}\r\nContent-Length: 1000\r\n\r\n"
        client.sendall(head.encode() + b'{"puzzles": "53')


def test_the_shipped_model_is_served_until_ctrl_c(running: Running) -> None:
    process, address = running()
    assert ask(address, "/health") == {"status": "ok", "model": "sudoku-9x9", "jobs": 0}
    cut_off(address)
    assert ask(address, "/health")["jobs"] == 0
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=20)
    found = process.returncode, errors.strip()
    assert found == (130, "hrm: interrupted")  # nor a word about the request that was cut off


def test_a_client_that_goes_away_stops_the_thinking_and_leaves_nothing(running: Running) -> None:
    _, address = running()
    place = urlsplit(address)
    wish = json.dumps({"puzzles": HARD, "halt": "fixed", "steps": 256, "votes": 8})
    for path in ("/api/watch", "/api/solve"):
        client = http.client.HTTPConnection(place.hostname or "", place.port, timeout=20)
        client.request("POST", path, wish)
        wait_until(lambda: ask(address, "/health")["jobs"] == 1)
        if path == "/api/watch":
            assert client.getresponse().readline() == b"event: place\n"
        if client.sock is not None:
            client.sock.shutdown(socket.SHUT_RDWR)
        client.close()
        wait_until(lambda: ask(address, "/health")["jobs"] == 0)  # all steps take over a minute


def wait_until(holds: Callable[[], bool]) -> None:
    end = time.monotonic() + 15
    while not holds():
        assert time.monotonic() < end
        time.sleep(0.05)


def test_ctrl_c_ends_open_streams_in_one_line(running: Running) -> None:
    process, address = running()
    place = urlsplit(address)
    wish = json.dumps({"puzzles": HARD, "halt": "fixed", "steps": 256, "votes": 2})
    clients, streams = [], []
    for _ in range(2):  # one is computed, one waits
        clients.append(http.client.HTTPConnection(place.hostname or "", place.port, timeout=20))
        clients[-1].request("POST", "/api/watch", wish)
        streams.append(clients[-1].getresponse())
        assert streams[-1].readline() == b"event: place\n"
    process.send_signal(signal.SIGINT)
    for client, stream in zip(clients, streams, strict=True):
        last = stream.read().decode().rstrip().splitlines()[-2:]
        client.close()
        assert last[0] == "event: failed"
        assert "the server has stopped" in last[1]
    _, errors = process.communicate(timeout=20)
    assert (process.returncode, errors.strip()) == (130, "hrm: interrupted")


def test_a_taken_port_is_named(refusal: Refusal) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        line = refusal("serve", "--port", port, "--device", "cpu")
    assert line.startswith(f"127.0.0.1:{port} cannot be opened (")
    assert line.endswith("choose another --port or --host")


def test_a_host_that_is_not_here_is_named(refusal: Refusal) -> None:
    assert "192.0.2.1:0 cannot be opened" in refusal("serve", "--host", "192.0.2.1", "--port", 0)


def test_a_model_of_no_task_is_refused(refusal: Refusal, tmp_path: Path) -> None:
    assert refusal("serve", tmp_path).endswith(".safetensors file")


def test_another_host_brings_a_warning(running: Running) -> None:
    process, address = running("--host", "0.0.0.0")
    assert ask(address, "/health")["status"] == "ok"
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=20)
    assert errors.startswith("warning: everybody who reaches 0.0.0.0 can use this server")


def test_without_the_packages_the_way_out_is_named() -> None:
    done = subprocess.run([sys.executable, "-c", WITHOUT], capture_output=True, text=True)
    expected = (
        "hrm: the page needs starlette and uvicorn; pip install 'starlette>=1.0' 'uvicorn>=0.40'\n"
    )
    assert (done.returncode, done.stderr) == (2, expected)


@pytest.mark.parametrize("arguments", [["--port", "70000"], ["--port", "x"]])
def test_a_wrong_port_is_refused(refusal: Refusal, arguments: list[str]) -> None:
    assert "--port" in refusal("serve", *arguments)
