import random
import stat
import zipfile
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from hrm_core.data import picture_sources
from hrm_core.data.picture_sources import open_pictures
from hrm_core.errors import DataError, HRMError

RNG = np.random.default_rng(8)
PIXELS = {name: RNG.integers(0, 256, (5, 6), np.uint8) for name in ("a.png", "b/c.png", "b/d.png")}


def png(pixels: np.ndarray) -> bytes:
    file = BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name, pixels in PIXELS.items():
        path = tmp_path / "pictures" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(png(pixels))
    (tmp_path / "pictures" / "notes.txt").write_text("no picture")
    return tmp_path / "pictures"


def zip_of(path: Path, members: dict[str | zipfile.ZipInfo, bytes]) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return path


def zipped(path: Path) -> Path:
    members = {name: png(pixels) for name, pixels in PIXELS.items()}
    return zip_of(path, {**members, "__MACOSX/._a.png": b"x", "notes.txt": b"no picture"})


def test_a_folder_and_a_zip_file_hold_the_same_pictures(folder: Path, tmp_path: Path) -> None:
    of_folder, of_zip = open_pictures(folder), open_pictures(zipped(tmp_path / "p.zip"))
    assert of_folder.names == of_zip.names == ["a.png", "b/c.png", "b/d.png"]
    for pictures in (of_folder, of_zip):
        for name, photo in zip(PIXELS, pictures.photos(list(PIXELS)), strict=True):
            np.testing.assert_array_equal(photo.pixels, PIXELS[name], strict=True)
    assert of_folder.sha256 == of_zip.sha256
    assert sorted(path.name for path in tmp_path.iterdir()) == ["p.zip", "pictures"]


def test_the_hash_is_that_of_what_was_read_in_any_order(folder: Path) -> None:
    hashes = []
    for names in (["a.png", "b/c.png"], ["b/c.png", "a.png"], ["a.png"]):
        pictures = open_pictures(folder)
        list(pictures.photos(names))
        hashes.append(pictures.sha256)
    assert hashes[0] == hashes[1] != hashes[2]


def test_backslashes_of_windows_separate_folders(tmp_path: Path) -> None:
    path = zip_of(tmp_path / "p.zip", {"b\\c.png": png(PIXELS["b/c.png"])})
    pictures = open_pictures(path)
    assert pictures.names == ["b/c.png"]
    np.testing.assert_array_equal(next(pictures.photos(["b/c.png"])).pixels, PIXELS["b/c.png"])


def link() -> zipfile.ZipInfo:
    info = zipfile.ZipInfo("a.png")
    info.create_system = 3
    info.external_attr = (stat.S_IFLNK | 0o777) << 16
    return info


@pytest.mark.parametrize(
    ("member", "found"),
    [
        ("../a.png", "points outside"),
        ("x/../../a.png", "points outside"),
        ("x\\..\\..\\a.png", "points outside"),
        ("/etc/a.png", "points outside"),
        ("C:\\a.png", "points outside"),
        (link(), "is a link"),
    ],
)
def test_members_that_lead_elsewhere_are_refused(
    tmp_path: Path, member: str | zipfile.ZipInfo, found: str
) -> None:
    path = zip_of(tmp_path / "p.zip", {"good.png": png(PIXELS["a.png"]), member: b"x"})
    with pytest.raises(DataError, match=found):
        open_pictures(path)


def test_members_that_are_encrypted_too_large_or_too_many_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = zipped(tmp_path / "p.zip")
    encrypted = bytearray(path.read_bytes())
    place = encrypted.index(b"PK\x01\x02")  # the first entry of the directory
    encrypted[place + 8] |= 1
    (tmp_path / "e.zip").write_bytes(bytes(encrypted))
    with pytest.raises(DataError, match="is encrypted"):
        open_pictures(tmp_path / "e.zip")
    monkeypatch.setattr(picture_sources, "MAX_MEMBER_BYTES", 50)
    with pytest.raises(DataError, match="more than 50"):
        open_pictures(path)
    monkeypatch.setattr(picture_sources, "MAX_MEMBERS", 3)
    with pytest.raises(DataError, match="5 members; expected at most 3"):
        open_pictures(path)


def test_two_members_of_one_name_are_refused(tmp_path: Path) -> None:
    path = zip_of(tmp_path / "p.zip", {"b/c.png": b"x", "b\\c.png": b"y"})
    with pytest.raises(DataError, match="twice"):
        open_pictures(path)


def test_what_holds_no_pictures_is_refused(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "a.txt").write_text("x")
    (tmp_path / "text.zip").write_text("x")
    zip_of(tmp_path / "none.zip", {"a.txt": b"x"})
    for name, found in (
        ("empty", "holds no pictures"),
        ("a.txt", "another kind of file"),
        ("nowhere", "not there"),
        ("nowhere.zip", "No such file"),
        ("text.zip", "cannot be read as a ZIP"),
        ("none.zip", "holds no pictures"),
    ):
        with pytest.raises(DataError, match=found):
            open_pictures(tmp_path / name)


def test_a_damaged_picture_is_named_with_its_archive(tmp_path: Path) -> None:
    path = zip_of(tmp_path / "p.zip", {"b/c.png": png(PIXELS["a.png"])[:40]})
    with pytest.raises(DataError, match=r"p\.zip: b/c\.png is no picture"):
        list(open_pictures(path).photos(["b/c.png"]))


def test_frames_are_the_pictures_of_a_folder_or_those_in_a_file(tmp_path: Path) -> None:
    frames = [RNG.integers(0, 256, (5, 6), np.uint8) for _ in range(4)]
    members = {f"clip/{number}.png": png(frame) for number, frame in enumerate(frames[:2])}
    film = BytesIO()
    first, second = Image.fromarray(frames[2]), Image.fromarray(frames[3])
    first.save(film, "TIFF", save_all=True, append_images=[second])
    path = zip_of(tmp_path / "p.zip", {**members, "films/one.tif": film.getvalue()})
    pictures = open_pictures(path, 2)
    assert pictures.names == ["clip", "films/one.tif"]
    found = [photo.pixels for photo in pictures.photos(pictures.names)]
    np.testing.assert_array_equal(found, [frames[:2], frames[2:]], strict=True)
    with pytest.raises(DataError, match="clip has 2 frames, but an example has 3"):
        list(open_pictures(path, 3).photos(["clip"]))


def test_damaged_archives_are_read_or_refused_in_one_line(tmp_path: Path) -> None:
    rng = random.Random(4)
    data = zipped(tmp_path / "p.zip").read_bytes()
    num_read, messages = 0, []
    for _ in range(200):
        changed = bytearray(data)
        for _ in range(rng.randint(1, 4)):
            changed[rng.randrange(len(changed))] = rng.randrange(256)
        (tmp_path / "p.zip").write_bytes(bytes(changed))
        try:
            pictures = open_pictures(tmp_path / "p.zip")
            num_read += len(list(pictures.photos(pictures.names))) > 0
        except HRMError as error:
            messages.append(str(error))
    assert min(num_read, len(messages)) > 20
    assert not [message for message in messages if "\n" in message]
