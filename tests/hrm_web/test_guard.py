"""Who may ask, what is sent with every answer, and how long a request may be."""

import re
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("starlette", reason="starlette is missing: the page is not tested")
pytest.importorskip("httpx2", reason="httpx2 is missing: the page is not tested")

from hrm_core.runs.shipped import SHOWN
from hrm_web.guard import MAX_BODY, allowed_names

STATIC = Path(__file__).parents[2] / "hrm_web" / "static"
NAMESPACE = "http://www.w3.org/2000/svg"  # a name, never fetched


def test_the_server_is_healthy_and_says_what_it_serves(page: Any) -> None:
    health = page.client.get("/health").json()
    assert health == {"status": "ok", "model": SHOWN, "jobs": 0}


def test_the_page_and_its_files_come_with_a_policy_against_other_addresses(page: Any) -> None:
    paths = ["/", *(f"/static/{file.name}" for file in STATIC.iterdir())]
    assert len(paths) > 8
    for path in paths:
        answer = page.client.get(path)
        assert answer.status_code == 200
        assert "default-src 'self'" in answer.headers["content-security-policy"]
        assert answer.headers["x-content-type-options"] == "nosniff"


def test_no_file_of_the_page_names_another_address() -> None:
    for file in STATIC.iterdir():
        found = set(re.findall(r"(?:https?:)?//[\w.-]+\.\w+[\w./]*", file.read_text()))
        assert found <= {NAMESPACE}, file.name


@pytest.mark.parametrize("host", ["evil.example", "127.0.0.1.evil.example:8000", "", "192.168.1.5"])
def test_a_foreign_host_is_refused(page: Any, host: str) -> None:
    answer = page.client.get("/api/model", headers={"host": host})
    assert answer.status_code == 403
    assert "is not served" in answer.json()["error"]


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost:8000", "[::1]:8000"])
def test_names_of_this_machine_are_served(page: Any, host: str) -> None:
    assert page.client.get("/health", headers={"host": host}).status_code == 200


def test_only_the_page_of_this_server_may_send(page: Any) -> None:
    for origin, status in (("http://evil.example", 403), ("null", 403), ("http://127.0.0.1", 200)):
        answer = page.client.get("/health", headers={"origin": origin})
        assert answer.status_code == status, origin


def test_a_server_for_other_machines_is_called_by_numbers_and_its_own_names() -> None:
    local, open_to_all = allowed_names("127.0.0.1"), allowed_names("0.0.0.0")
    assert open_to_all("192.168.1.5")
    assert open_to_all("fe80::1")
    assert not open_to_all("evil.example")
    assert not local("192.168.1.5")
    assert allowed_names("lab.example")("lab.example")


def test_a_long_body_is_refused_declared_or_not(page: Any) -> None:
    def in_parts() -> Any:
        for _ in range(MAX_BODY // 65536 + 1):
            yield b" " * 65536

    for path in ("/api/solve", "/api/read"):
        for body in (b" " * (MAX_BODY + 1), in_parts()):
            answer = page.client.post(path, content=body)
            assert answer.status_code == 413
            assert "4,194,304 bytes" in answer.json()["error"]


def test_a_body_of_the_largest_size_is_read(page: Any) -> None:
    answer = page.client.post("/api/read", content=b" " * MAX_BODY)
    assert (answer.status_code, "no puzzle found" in answer.text) == (400, True)


def test_unknown_paths_and_methods_are_answered_in_one_line(page: Any) -> None:
    for method, path, status in (("GET", "/nothing", 404), ("GET", "/api/solve", 405)):
        answer = page.client.request(method, path)
        assert answer.status_code == status
        assert path in answer.json()["error"]
    assert page.client.get("/static/../server.py").status_code == 404
