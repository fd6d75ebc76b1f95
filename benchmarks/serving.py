"""Load on the page of `hrm serve`: many clients at once, none lost, none answered wrongly, memory flat.

python -m benchmarks.serving --requests 200 --clients 20
python -m benchmarks.serving --press 10

Starts a server of its own with the shipped model. Every answer is compared with that of the same model
without a server. `--press` presses Solve on the page in Chromium instead, and prints the milliseconds
from the press until the answer of the first ACT step is drawn.
"""

import argparse
import json
import re
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

import numpy as np

from hrm_core.backends import installed_backend
from hrm_core.inference.loading import load_solver
from hrm_core.inference.records import solution_record
from hrm_core.inference.solution import require_readable
from hrm_core.runs.shipped import shipped_models
from hrm_core.tasks.editing import Inventive

PATIENCE = 600  # seconds for one request
READY = "return document.querySelector('.solve')?.disabled === false"
PRESS = """
const done = arguments[arguments.length - 1];
const cells = document.querySelectorAll(".answer .cell");
const began = performance.now();
const watcher = new MutationObserver(() => {
  watcher.disconnect();
  requestAnimationFrame(() => done(performance.now() - began));
});
cells.forEach((cell) => watcher.observe(cell, { characterData: true, childList: true }));
document.querySelector(".solve").click();
"""


@contextmanager
def served() -> Iterator[tuple[int, str]]:
    """Start a server. Yields: its process and its address."""
    command = [sys.executable, "-m", "hrm_cli", "serve", "--port", "0", "--device", "cpu"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        found = re.search(r"http://\S+(?=/)", process.stdout.readline())
        assert found, "the server did not start"
        try:
            yield process.pid, found[0]
        finally:
            process.terminate()


def ask(address: str, puzzle: str) -> tuple[Any, float]:
    """Ask for one solution. Returns: its record and the seconds."""
    began = time.perf_counter()
    body = json.dumps({"puzzles": puzzle}).encode()
    with urlopen(Request(f"{address}/api/solve", body), timeout=PATIENCE) as answer:
        (record,) = json.load(answer)["solutions"]
    return record, time.perf_counter() - began


def resident(pid: int) -> float:
    """Return the memory that a process holds, in MB."""
    status = Path(f"/proc/{pid}/status").read_text()
    found = re.search(r"VmRSS:\s+(\d+) kB", status)
    assert found, "the process has no VmRSS"
    return int(found[1]) / 1024


def load(num_requests: int, num_clients: int, num_puzzles: int) -> dict[str, Any]:
    """Send requests from clients at once, three times over."""
    solver = load_solver(next(iter(shipped_models())), installed_backend())
    assert isinstance(solver.task, Inventive)
    inputs, _ = solver.task.invent(np.random.default_rng(0), num_puzzles)
    puzzles = list(map(require_readable(solver.task).line, inputs))
    expected = {puzzle: solution_record(solver.solve(puzzle)[0]) for puzzle in puzzles}
    rounds = []
    with served() as (pid, address), ThreadPoolExecutor(num_clients) as clients:
        for number in range(3):
            asked = [puzzles[(number + place) % num_puzzles] for place in range(num_requests)]
            began = time.perf_counter()
            answers = list(clients.map(lambda puzzle: ask(address, puzzle), asked))
            seconds = time.perf_counter() - began
            wrong = sum(
                record != expected[puzzle]
                for puzzle, (record, _) in zip(asked, answers, strict=True)
            )
            waits = sorted(wait for _, wait in answers)
            rounds.append(
                {
                    "answered": len(answers),
                    "wrong": wrong,
                    "requests_per_second": round(num_requests / seconds, 1),
                    "median_seconds": round(statistics.median(waits), 2),
                    "longest_seconds": round(waits[-1], 2),
                    "resident_mb": round(resident(pid), 1),
                }
            )
    return {"requests": num_requests, "clients": num_clients, "rounds": rounds}


def press(times: int) -> dict[str, Any]:
    """Press Solve on the page and measure until the first answer is drawn."""
    from selenium import webdriver
    from selenium.webdriver.chrome.service import Service
    from selenium.webdriver.support.ui import WebDriverWait

    options = webdriver.ChromeOptions()
    options.binary_location = "/usr/bin/chromium"
    for argument in ("--headless=new", "--no-sandbox", "--disable-dev-shm-usage"):
        options.add_argument(argument)
    waits = []
    with (
        served() as (_, address),
        webdriver.Chrome(options, Service("/usr/bin/chromedriver")) as driver,
    ):
        driver.set_script_timeout(60)
        for _ in range(times):
            driver.get(address)
            WebDriverWait(driver, 60, 0.05).until(lambda page: page.execute_script(READY))
            waits.append(driver.execute_async_script(PRESS))
    shown = [round(wait) for wait in waits]
    return {"milliseconds": shown, "median": round(statistics.median(waits)), "longest": max(shown)}


def main() -> None:
    """Print the figures as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--requests", type=int, default=200)
    parser.add_argument("--clients", type=int, default=20)
    parser.add_argument("--puzzles", type=int, default=16)
    parser.add_argument("--press", type=int, metavar="TIMES")
    chosen = parser.parse_args()
    if chosen.press:
        print(json.dumps(press(chosen.press), indent=1))
        return
    print(json.dumps(load(chosen.requests, chosen.clients, chosen.puzzles), indent=1))


if __name__ == "__main__":
    main()
