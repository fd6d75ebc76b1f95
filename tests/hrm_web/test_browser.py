"""The page in a real browser: Debian's Chromium without a window, driven by its own driver."""

import json
import platform
import shutil
import threading
from base64 import b64encode
from collections.abc import Callable, Iterator
from contextlib import closing
from http.client import HTTPConnection
from io import BytesIO
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np
import pytest
from PIL import Image

from hrm_core.backends import BackendMaker
from hrm_core.inference.solving import Solver
from hrm_core.runs.shipped import shipped_models
from hrm_tasks.sudoku.task import Sudoku

pytest.importorskip("selenium", reason="selenium is missing: the page is not driven")

from selenium import webdriver
from selenium.webdriver import ActionChains
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.ui import WebDriverWait

for package in ("starlette", "uvicorn", "httpx2"):
    pytest.importorskip(package, reason=f"{package} is missing: the page is not tested")

CHROMIUM, DRIVER = shutil.which("chromium"), shutil.which("chromedriver")
pytestmark = [
    pytest.mark.skipif(
        platform.system() == "Darwin",
        reason="macOS has no chromium-driver of Debian's: the page is not driven",
    ),
    pytest.mark.skipif(
        CHROMIUM is None or DRIVER is None,
        reason="chromium or chromium-driver is missing: the page is not driven",
    ),
]

HARDEST = "8..........36......7..9.2...5...7.......457.....1...3...1....68..85...1..9....4.."
HARD = ".4.......23.....6...521.4....7....4.....2...389...3....2.7...15.7.1.5.......3.7.9"
LOCAL = BackendMaker("mlx", "cpu", "float32")
KEPT = Path(__file__).parents[1] / "kept"
PATIENCE = 40  # seconds
BOARD = """
const cells = document.querySelectorAll(arguments[0]);
return [...cells].map((cell) => cell.textContent || ".").join("");
"""
CALM = "--force-prefers-reduced-motion"  # steps are shown without a pause between them
OFFLINE = (
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1"  # any other address is an error
)


@pytest.fixture(scope="module")
def driver() -> Iterator[Any]:
    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM
    flags = "--headless=new", "--no-sandbox", "--disable-dev-shm-usage", CALM, OFFLINE
    for argument in flags:
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    found = webdriver.Chrome(service=Service(DRIVER), options=options)
    yield found
    found.quit()


class Browser:
    """One page, asked by CSS selectors."""

    def __init__(self, driver: Any) -> None:
        self.driver = driver

    def find(self, selector: str) -> Any:
        return self.driver.find_element(By.CSS_SELECTOR, selector)

    def text(self, selector: str) -> str:
        return str(self.find(selector).get_attribute("textContent"))

    def board(self, name: str) -> str:
        return str(self.driver.execute_script(BOARD, f".{name} .cell"))  # one call, not 81

    def wait(self, holds: Callable[[], Any]) -> None:
        WebDriverWait(self.driver, PATIENCE, 0.05).until(lambda driver: holds())

    def press(self, *keys: str) -> None:
        for key in keys:
            self.driver.switch_to.active_element.send_keys(key)

    def focus_of(self) -> str:
        return str(self.driver.switch_to.active_element.get_attribute("className"))

    def width_on_a_phone(self) -> int:
        metrics = {"width": 360, "height": 740, "deviceScaleFactor": 2, "mobile": True}
        self.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
        width = self.driver.execute_script("return document.documentElement.scrollWidth")
        self.driver.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
        return int(width)

    def tab_to(self, name: str) -> None:
        for _ in range(40):
            if name in self.focus_of().split():
                return
            self.press(Keys.TAB)
        raise AssertionError(f"the keyboard does not reach {name}")


@pytest.fixture(scope="module")
def hosted(site_of: Any) -> Iterator[Callable[[Path], str]]:
    """Serve a model from a thread, which starts sooner than a process. Returns: the address."""
    import uvicorn

    from hrm_web.server import listen, make_app
    from hrm_web.worker import Worker

    running = []

    def host(path: Path) -> str:
        site = site_of(path)
        worker = Worker(lambda: site.solver(LOCAL))
        worker.start()
        opened = listen("127.0.0.1", 0)
        app = make_app(site, worker, "127.0.0.1")
        server = uvicorn.Server(uvicorn.Config(app, log_level="warning", ws="none"))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [opened]})
        thread.start()
        running.append((server, thread))
        return f"http://127.0.0.1:{opened.getsockname()[1]}"

    yield host
    for server, thread in running:
        server.should_exit = True
        thread.join()


@pytest.fixture(scope="module")
def address(hosted: Callable[[Path], str]) -> str:
    """The address of a server of the shipped model."""
    return hosted(shipped_models()["sudoku-9x9"])


@pytest.fixture
def browser(driver: Any, address: str) -> Iterator[Browser]:
    """The page of the shipped model with a puzzle on its board."""
    driver.get(address)
    found = Browser(driver)
    found.wait(lambda: found.find(".solve").is_enabled() and found.board("question").strip("."))
    yield found
    # no error in a script and nothing from elsewhere; a refused puzzle is no such error
    logged = [entry["message"] for entry in driver.get_log("browser")]
    assert [message for message in logged if "status of 400" not in message] == []


def paste(browser: Browser, text: str) -> None:
    browser.driver.execute_script("document.querySelector('details').open = true")
    field = browser.find("textarea")
    field.clear()
    field.send_keys(text)


def test_a_pasted_puzzle_is_watched_from_the_first_step_to_the_verdict(
    browser: Browser, solver: Solver
) -> None:
    (solution,) = solver.solve(HARD)
    lines = list(map(Sudoku(9).line, solution.answers))
    paste(browser, HARD)
    browser.find(".solve").click()  # at once: the board does not show the text yet
    browser.wait(lambda: browser.find(".verdict").is_displayed())
    assert browser.board("question") == HARD
    assert browser.board("answer") == lines[-1]
    assert browser.text(".verdict").startswith("Accepted by the rules; settled after ACT step")
    assert len(browser.driver.find_elements(By.CSS_SELECTOR, ".curve circle")) == len(lines)
    slider = browser.find(".slider")
    slider.send_keys(Keys.HOME)
    assert browser.board("answer") == lines[0]
    first, second = (np.array(answer) for answer in solution.answers[:2])
    slider.send_keys(Keys.ARROW_RIGHT)
    assert browser.board("answer") == lines[1]
    changed = browser.driver.find_elements(By.CSS_SELECTOR, ".answer .cell.changed")
    assert len(changed) == int((first != second).sum())
    assert browser.text(".num-changed") == str(len(changed))
    assert slider.get_attribute("aria-valuetext").startswith("ACT step 2, ")
    browser.find(".more").click()
    browser.wait(lambda: browser.text(".num-step") == str(len(lines) + 8))
    browser.wait(lambda: browser.find(".verdict").is_displayed())


def test_the_keyboard_alone_fills_in_solves_and_names_cells(browser: Browser) -> None:
    browser.driver.execute_script("document.body.focus()")
    browser.tab_to("clear")
    browser.press(Keys.ENTER)
    assert "cell" in browser.focus_of()
    browser.press("5", Keys.ARROW_RIGHT, "3", Keys.ARROW_DOWN, "7", Keys.BACKSPACE, "6")
    assert browser.board("question") == "53" + "." * 8 + "6" + "." * 70
    label = browser.driver.switch_to.active_element.get_attribute("aria-label")
    assert label == "row 2, column 2: 6"
    browser.tab_to("solve")
    browser.press(Keys.ENTER)
    browser.wait(lambda: browser.find(".verdict").is_displayed())
    assert browser.text("#announcer") == browser.text(".verdict")


def test_a_mistake_is_told_where_it_was_made(browser: Browser) -> None:
    paste(browser, "55" + HARD[2:])
    browser.wait(lambda: browser.text(".text-error"))
    assert "5 is given twice in row 1" in browser.text(".text-error")
    assert browser.find("textarea").get_attribute("aria-invalid") == "true"
    browser.find(".clear").click()
    assert not browser.text(".text-error")
    browser.press("5", Keys.ARROW_RIGHT, "5")
    browser.find(".solve").click()
    browser.wait(lambda: browser.text(".board-error"))
    assert "5 is given twice in row 1" in browser.text(".board-error")


def test_cancel_ends_the_thinking_and_the_next_puzzle_is_solved(browser: Browser) -> None:
    paste(browser, HARDEST)  # no form of it is solved, so all are asked
    browser.wait(lambda: browser.find(".votes").is_enabled())
    browser.find(".votes").click()
    browser.wait(lambda: browser.find(".cancel").is_displayed())
    browser.find(".cancel").click()
    browser.wait(lambda: browser.text(".status").startswith("Cancelled after"))
    paste(browser, HARD)
    browser.find(".solve").click()
    browser.wait(lambda: browser.find(".verdict").is_displayed())


def test_a_visitor_who_waits_is_told_the_place(browser: Browser, address: str) -> None:
    place = urlsplit(address)
    with closing(HTTPConnection(place.hostname or "", place.port, timeout=60)) as other:
        wish = {"puzzles": HARD, "halt": "fixed", "steps": 256, "votes": 4}
        other.request("POST", "/api/watch", json.dumps(wish))
        assert other.getresponse().readline() == b"event: place\n"
        browser.find(".solve").click()
        browser.wait(lambda: browser.text(".status") == "1 request before yours in the queue")
    browser.wait(lambda: browser.find(".verdict").is_displayed())


def test_a_phone_shows_the_page_without_scrolling_sideways(browser: Browser) -> None:
    assert browser.width_on_a_phone() == 360


DROP = """
const bytes = Uint8Array.from(atob(arguments[0]), (letter) => letter.charCodeAt(0));
const data = new DataTransfer();
data.items.add(new File([bytes], arguments[1], { type: "image/png" }));
const drop = new DragEvent("drop", { bubbles: true, cancelable: true, dataTransfer: data });
document.querySelector(".drop").dispatchEvent(drop);
"""


def test_a_dropped_picture_has_a_bar_for_each_chance_and_a_note(
    driver: Any, hosted: Callable[[Path], str], picture_model: Path
) -> None:
    driver.get(hosted(picture_model))
    browser = Browser(driver)
    browser.wait(lambda: browser.find(".note").is_displayed())
    assert browser.text(".note") == "For research, not for diagnosis."
    picture = BytesIO()
    Image.fromarray(np.arange(256, dtype=np.uint8).reshape(16, 16)).save(picture, "PNG")
    name = f"{'long' * 30}.png"
    driver.execute_script(DROP, b64encode(picture.getvalue()).decode(), name)
    assert browser.find(".preview").is_displayed()
    assert browser.find(".file").get_property("value").endswith(name)
    browser.find(".primary").click()
    browser.wait(lambda: browser.text(".status") == "Done")
    share = float(browser.text(".bar .share").removesuffix("\N{NO-BREAK SPACE}%"))
    width = browser.find(".fill").get_attribute("style")
    assert float(width.removeprefix("width: ").removesuffix("%;")) == pytest.approx(share, abs=0.1)
    assert browser.text(".bar .name") == "Pneumonia"
    outcomes = browser.text(".outcomes")
    assert "Converted: resized to 8x8 pixels" in outcomes
    assert "█" not in outcomes  # the bars of a terminal
    assert browser.width_on_a_phone() == 360
    driver.execute_script(DROP, b64encode(b"no picture").decode(), "x.png")
    assert browser.text(".outcomes") == ""  # those were of another file
    browser.find(".primary").click()
    browser.wait(lambda: browser.text(".file-error").startswith("x.png is no picture"))
    browser.wait(lambda: not browser.find(".preview").is_displayed())


def test_the_mouse_draws_walls_and_moves_the_start(
    driver: Any, hosted: Callable[[Path], str]
) -> None:
    driver.get(hosted(KEPT / "maze.safetensors"))
    browser = Browser(driver)
    browser.wait(lambda: browser.find(".solve").is_enabled() and "S" in browser.board("question"))
    browser.find(".clear").click()
    cells = driver.find_elements(By.CSS_SELECTOR, ".question .cell")
    stroke = ActionChains(driver).move_to_element(cells[0]).click_and_hold()
    stroke.move_to_element(cells[1]).move_to_element(cells[2]).release().perform()
    wall, _, start, _ = driver.find_elements(By.CSS_SELECTOR, ".tool")
    assert wall.get_attribute("aria-pressed") == "true"
    start.click()
    cells[7].click()
    cells[8].click()  # there is one start
    wall.click()
    driver.execute_script("arguments[0].focus()", cells[34])
    browser.press(Keys.ARROW_RIGHT, Keys.ENTER, Keys.ARROW_UP, "g")  # without the mouse
    text = browser.find("textarea").get_property("value")
    assert text.split() == ["###...", "..S...", "......", "......", ".....G", ".....#"]
    browser.find(".clear").click()
    browser.find(".solve").click()
    browser.wait(lambda: browser.text(".board-error"))
    assert "maze 1" in browser.text(".board-error")
