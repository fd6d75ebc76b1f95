"""`hrm data xray` and `hrm data images` as commands: pictures of all kinds, and those that are none."""

import json
import struct
import subprocess
import sys
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

Hrm = Callable[..., Any]
Refusal = Callable[..., str]

GREY = np.random.default_rng(9).integers(0, 256, (28, 28), np.uint8)


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def bomb() -> bytes:
    header = struct.pack(">IIBBBBB", 20_000, 20_000, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"x"))


@pytest.fixture
def images(tmp_path: Path) -> Path:
    """Pictures of every kind, and a table of their findings."""
    folder = tmp_path / "images"
    folder.mkdir()
    grey = Image.fromarray(GREY)
    exif = Image.Exif()
    exif[0x0112] = 6
    grey.save(folder / "plain.png")
    grey.convert("RGB").save(folder / "colour.png")
    grey.convert("P").save(folder / "palette.png")
    grey.convert("LA").save(folder / "alpha.png")
    grey.convert("CMYK").save(folder / "cmyk.jpg")
    grey.save(folder / "turned.png", exif=exif)
    Image.fromarray(GREY.astype(np.uint16) * 257).save(folder / "deep.png")
    grey.resize((90, 60)).save(folder / "wide.png")
    lines = [f"{path.name},{place % 2}" for place, path in enumerate(sorted(folder.iterdir()))]
    (tmp_path / "labels.csv").write_text("file,Mass\n" + "\n".join(lines) + "\n")
    return folder


def test_what_is_converted_is_counted_and_said(hrm: Hrm, images: Path, tmp_path: Path) -> None:
    words = ("--images", images, "--labels", tmp_path / "labels.csv", "--test-share", "0", "--json")
    with pytest.warns(UserWarning, match=r"converted: .*cropped and resized \(1\)"):
        outcome = hrm("data", "xray", tmp_path / "out", *words)
    assert outcome.status == 0, outcome.err
    record = json.loads(outcome.out)
    assert record["converted"] == {
        "16 bits made 8": 1,
        "CMYK made grey": 1,
        "alpha laid on white": 1,
        "colour made grey": 1,
        "cropped and resized": 1,
        "palette made grey": 1,
        "turned as its EXIF data say": 1,
    }
    assert record["note"] == "for research, not for diagnosis"
    shown = hrm("data", "inspect", tmp_path / "out").out
    assert "28 x 28, uint8" in shown
    assert shown.endswith("\nfor research, not for diagnosis\n")
    found = json.loads(hrm("data", "inspect", tmp_path / "out", "--json").out)
    assert found["note"] == "for research, not for diagnosis"


@pytest.mark.parametrize(
    ("data", "found"),
    [
        (b"no picture", "is no picture that can be read"),
        (b"", "is no picture that can be read"),
        (bomb(), "far too many pixels"),
    ],
)
def test_what_is_no_picture_is_refused_in_one_line(
    refusal: Refusal, images: Path, tmp_path: Path, data: bytes, found: str
) -> None:
    (images / "plain.png").write_bytes(data)
    words = ("--images", images, "--labels", tmp_path / "labels.csv")
    message = refusal("data", "xray", tmp_path / "out", *words)
    assert "plain.png" in message
    assert found in message
    assert sorted(path.name for path in tmp_path.iterdir()) == ["images", "labels.csv"]


def test_small_and_truncated_pictures_are_refused(
    refusal: Refusal, images: Path, tmp_path: Path
) -> None:
    words = ("data", "xray", tmp_path / "out", "--images", images)
    words = (*words, "--labels", tmp_path / "labels.csv")
    Image.fromarray(GREY[:1, :1]).save(images / "plain.png")
    assert "1x1 pixels; expected 2 to 8,192" in refusal(*words)
    Image.fromarray(GREY).save(images / "plain.png")
    whole = (images / "plain.png").read_bytes()
    (images / "plain.png").write_bytes(whole[:-300])
    assert "truncated" in refusal(*words)


def test_an_archive_that_leads_elsewhere_is_refused(refusal: Refusal, tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "p.zip", "w") as archive:
        archive.writestr("../../evil.png", b"x")
    message = refusal("data", "images", tmp_path / "out", "--images", tmp_path / "p.zip")
    assert "points outside the archive" in message
    assert not (tmp_path.parent.parent / "evil.png").exists()


def test_options_are_asked_for_by_their_names(refusal: Refusal, tmp_path: Path) -> None:
    assert "give either --images" in refusal("data", "xray", tmp_path / "out")
    assert "Missing option '--images'" in refusal("data", "images", tmp_path / "out")
    words = ("data", "images", tmp_path / "out", "--images", tmp_path, "--flip")
    assert "--flip mirrors copies; give --augment N too" in refusal(*words)
    assert "--frames" in refusal("data", "images", tmp_path / "out", "--frames", "0")
    words = ("data", "images", tmp_path / "out", "--images", tmp_path, "--strips", "0")
    assert "--strips" in refusal(*words)


def test_balance_can_be_turned_off(hrm: Hrm, images: Path, tmp_path: Path) -> None:
    (tmp_path / "labels.csv").write_text(
        "file,Mass\n"
        + "".join(f"{path.name},{path.name[0] == 'p':d}\n" for path in images.iterdir())
    )
    counts = []
    for number, words in enumerate(((), ("--no-balance",))):
        out = tmp_path / f"out{number}"
        named = ("--images", images, "--labels", tmp_path / "labels.csv", "--test-share", "0")
        with pytest.warns(UserWarning, match="converted"):
            outcome = hrm("data", "xray", out, *named, *words, "--augment", "0", "--json")
        counts.append(json.loads(outcome.out)["train_examples"])
    assert counts == [6 + 2 * 3, 8]


def test_a_dicom_file_needs_a_package_that_is_named(
    refusal: Refusal, images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (images / "a.dcm").write_bytes(bytes(128) + b"DICM")
    (tmp_path / "labels.csv").write_text("file,Mass\na.dcm,1\nplain.png,0\n")
    words = ("data", "xray", tmp_path / "out", "--images", images)
    words = (*words, "--labels", tmp_path / "labels.csv")
    monkeypatch.setitem(sys.modules, "pydicom", None)
    assert "pip install 'pydicom>=3.0'" in refusal(*words)
    monkeypatch.undo()
    pytest.importorskip("pydicom", reason="pydicom is not installed")
    assert "a.dcm is a DICOM file without pixels" in refusal(*words)


def test_a_process_of_its_own_refuses_in_one_line_too(images: Path, tmp_path: Path) -> None:
    (images / "plain.png").write_bytes(b"GIF89a" + bytes(20))
    words = ["data", "xray", tmp_path / "out", "--images", images]
    words += ["--labels", tmp_path / "labels.csv"]
    command = [sys.executable, "-m", "hrm_cli", *map(str, words)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (2, "")
    assert len(done.stderr.splitlines()) == 1
    assert "plain.png" in done.stderr
