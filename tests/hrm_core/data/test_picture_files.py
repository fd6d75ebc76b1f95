import logging
import random
import struct
import zlib
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from hrm_core.data import picture_files
from hrm_core.data.picture_files import (
    ALPHA_NOTE,
    TURNED_NOTE,
    Photo,
    array_photo,
    fitted,
    frames_of,
    photo_of,
    picture_paths,
    read_frames,
    read_photo,
)
from hrm_core.errors import DataError, HRMError

SEED = 20
GREY = np.random.default_rng(SEED).integers(0, 256, (6, 4), np.uint8)
COLOUR = np.random.default_rng(SEED + 1).integers(0, 256, (6, 4, 3), np.uint8)


def packed(image: Image.Image, kind: str = "PNG", **settings: object) -> bytes:
    file = BytesIO()
    image.save(file, kind, **settings)
    return file.getvalue()


def luma(colour: np.ndarray) -> np.ndarray:
    """ITU-R 601-2 in exact arithmetic, rounded half up as Pillow does."""
    weights = np.array([19595, 38470, 7471])
    return ((colour.astype(np.int64) @ weights + 0x8000) >> 16).astype(np.uint8)


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png_of(width: int, height: int) -> bytes:
    """A PNG that says these sides, with the pixels of a much smaller one."""
    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    pixels = zlib.compress(bytes(1000))
    parts = chunk(b"IHDR", header) + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + parts


@pytest.mark.parametrize("kind", ["PNG", "BMP", "TIFF", "PPM"])
def test_grey_pixels_are_read_as_they_are(kind: str) -> None:
    photo = photo_of(packed(Image.fromarray(GREY), kind), "a")
    np.testing.assert_array_equal(photo.pixels, GREY, strict=True)
    assert photo.notes == ()


def test_equal_channels_of_colour_become_the_grey_they_show() -> None:
    colour = np.repeat(GREY[:, :, None], 3, axis=2)
    photo = photo_of(packed(Image.fromarray(colour)), "a")
    np.testing.assert_array_equal(photo.pixels, GREY, strict=True)
    assert photo.notes == ("colour made grey",)


def test_colour_becomes_luma() -> None:
    photo = photo_of(packed(Image.fromarray(COLOUR)), "a")
    np.testing.assert_array_equal(photo.pixels, luma(COLOUR), strict=True)


def test_a_palette_becomes_luma() -> None:
    image = Image.fromarray(COLOUR).quantize(8)
    photo = photo_of(packed(image), "a")
    np.testing.assert_array_equal(photo.pixels, luma(np.asarray(image.convert("RGB"))))
    assert photo.notes == ("palette made grey",)


@pytest.mark.parametrize("mode", ["LA", "RGBA"])
def test_transparent_pixels_are_laid_on_white(mode: str) -> None:
    image = Image.fromarray(GREY).convert(mode)
    alpha = Image.fromarray(np.where(np.arange(24).reshape(6, 4) < 8, 0, 255).astype(np.uint8))
    image.putalpha(alpha)
    photo = photo_of(packed(image), "a")
    assert (photo.pixels[:2] == 255).all()
    np.testing.assert_array_equal(photo.pixels[2:], GREY[2:])
    assert ALPHA_NOTE in photo.notes


def test_a_transparent_colour_of_a_palette_is_laid_on_white() -> None:
    image = Image.fromarray((GREY > 128).astype(np.uint8)).convert("P")
    image.putpalette([0, 0, 0, 90, 90, 90])
    photo = photo_of(packed(image, transparency=0), "a")
    np.testing.assert_array_equal(photo.pixels, np.where(GREY > 128, 90, 255))
    assert photo.notes == ("palette made grey", ALPHA_NOTE)


@pytest.mark.parametrize(("bits", "note"), [(16, "16 bits made 8"), (12, "12 bits in 16 made 8")])
def test_deep_pixels_are_scaled_from_their_depth(bits: int, note: str) -> None:
    full = (1 << bits) - 1
    deep = np.rint(GREY / 255 * full).astype(np.uint16)
    deep[0, 0] = full
    photo = photo_of(packed(Image.fromarray(deep)), "a")
    expected = GREY.copy()
    expected[0, 0] = 255
    np.testing.assert_array_equal(photo.pixels, expected, strict=True)
    assert photo.notes == (note,)


def test_black_and_white_become_0_and_255() -> None:
    photo = photo_of(packed(Image.fromarray(GREY > 99)), "a")
    np.testing.assert_array_equal(photo.pixels, np.where(GREY > 99, 255, 0))


def test_cmyk_jpeg_shows_what_it_showed_in_colour() -> None:
    flat = Image.new("RGB", (16, 16), (200, 40, 90))
    photo = photo_of(packed(flat.convert("CMYK"), "JPEG", quality=95), "a")
    assert abs(photo.pixels.astype(int) - int(luma(np.array([200, 40, 90])))).max() <= 4
    assert photo.notes == ("CMYK made grey",)


@pytest.mark.parametrize(("orientation", "turns"), [(3, 2), (6, 3), (8, 1)])
def test_a_picture_is_turned_as_its_exif_data_say(orientation: int, turns: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    photo = photo_of(packed(Image.fromarray(GREY), exif=exif), "a")
    np.testing.assert_array_equal(photo.pixels, np.rot90(GREY, turns), strict=True)
    assert photo.notes == (TURNED_NOTE,)


@pytest.mark.parametrize(
    ("data", "found"),
    [
        (b"", "is no picture"),
        (b"not a picture at all", "is no picture"),
        (png_of(20_000, 20_000), "far too many pixels"),
        (png_of(9_000, 9_000), "9000x9000 pixels; expected 2 to 8,192"),
        (png_of(1, 1), "1x1 pixels; expected 2 to 8,192"),
        (png_of(100, 100), "cannot be read"),
        (packed(Image.fromarray(GREY).resize((300, 300)))[:-900], "truncated"),
        (packed(Image.fromarray(COLOUR).resize((300, 300)), "JPEG")[:-900], "truncated"),
        (packed(Image.fromarray(GREY.astype(np.float32)), "TIFF"), "mode F"),
        (packed(Image.fromarray(GREY.astype(np.int32) * 1000), "TIFF"), "values from"),
    ],
)
def test_what_is_no_sound_picture_is_refused(data: bytes, found: str) -> None:
    with pytest.raises(DataError, match=found) as refusal:
        photo_of(data, "odd.png")
    message = str(refusal.value)
    assert message.startswith("odd.png")
    assert "\n" not in message
    assert "expected" in message or "save it" in message


def test_a_bomb_is_refused_before_it_is_decoded(monkeypatch: pytest.MonkeyPatch) -> None:
    def never(image: Image.Image) -> None:
        raise AssertionError("decoded")

    monkeypatch.setattr(Image.Image, "load", never)
    with pytest.raises(DataError, match="pixels"):
        photo_of(png_of(9000, 9000), "a")
    with pytest.raises(DataError, match="decoded"):  # control: a small one is
        photo_of(png_of(90, 90), "a")


def test_arrays_and_pictures_of_pillow_are_taken() -> None:
    grey = array_photo(GREY, "array")
    assert grey == Photo(GREY)
    np.testing.assert_array_equal(array_photo(COLOUR, "array").pixels, luma(COLOUR))
    np.testing.assert_array_equal(array_photo(Image.fromarray(COLOUR), "a").pixels, luma(COLOUR))
    np.testing.assert_array_equal(array_photo(GREY.astype(np.uint16) * 257, "a").pixels, GREY)
    np.testing.assert_array_equal(array_photo(GREY > 9, "a").pixels, np.where(GREY > 9, 255, 0))


@pytest.mark.parametrize(
    "array", [GREY / 255, GREY.astype(np.int64), GREY[0], GREY[None, None], COLOUR[:, :, :2]]
)
def test_arrays_of_no_fixed_range_or_shape_are_refused(array: np.ndarray) -> None:
    with pytest.raises(DataError, match=r"^array .*expected"):
        array_photo(array, "array")


def test_a_picture_of_the_right_size_stays_as_it_is() -> None:
    assert fitted(GREY, (6, 4), "crop") is GREY
    assert fitted(GREY, (6, 4), "stretch") is GREY


def test_crop_takes_the_middle_and_stretch_all_of_it() -> None:
    wide = np.zeros((10, 30), np.uint8)
    wide[:, 10:20] = 200
    assert (fitted(wide, (10, 10), "crop") == 200).all()
    stretched = fitted(wide, (10, 10), "stretch")
    assert stretched.shape == (10, 10)
    assert stretched[:, 0].max() < 20
    assert stretched[:, 5].min() > 180


def test_shrinking_averages() -> None:
    checked = np.indices((64, 64)).sum(axis=0) % 2 * 200
    shrunk = fitted(checked.astype(np.uint8), (8, 8), "crop")
    assert abs(shrunk[1:-1, 1:-1].astype(int) - 100).max() <= 2
    taken = checked[::8, ::8]  # control: every eighth pixel
    assert (taken == 0).all()


def test_frames_are_fitted_one_by_one() -> None:
    frames = np.stack([GREY, 255 - GREY])
    expected = np.stack([fitted(frame, (3, 3), "crop") for frame in frames])
    np.testing.assert_array_equal(fitted(frames, (3, 3), "crop"), expected, strict=True)


def test_frames_come_from_a_folder_or_from_a_file(tmp_path: Path) -> None:
    frames = np.random.default_rng(3).integers(0, 256, (3, 5, 7), np.uint8)
    folder = tmp_path / "clip"
    folder.mkdir()
    for number, frame in enumerate(frames):
        Image.fromarray(frame).save(folder / f"{number}.png")
    np.testing.assert_array_equal(read_frames(folder, 3), frames, strict=True)
    for name in ("clip.tiff", "clip.png"):
        first, *others = [Image.fromarray(frame) for frame in frames]
        first.save(tmp_path / name, save_all=True, append_images=others)
        np.testing.assert_array_equal(read_frames(tmp_path / name, 3), frames, strict=True)
    with pytest.raises(DataError, match="has 3 frames, but an example has 2"):
        read_frames(folder, 2)
    with pytest.raises(DataError, match="has 3 frames, but an example has 4"):
        frames_of((tmp_path / "clip.tiff").read_bytes(), "clip.tiff", 4)
    Image.fromarray(GREY).save(folder / "3.png")
    with pytest.raises(DataError, match="one size"):
        read_frames(folder, 4)


def test_the_first_of_several_frames_is_a_picture(tmp_path: Path) -> None:
    images = [Image.fromarray(GREY), Image.fromarray(255 - GREY)]
    data = packed(images[0], "TIFF", save_all=True, append_images=images[1:])
    photo = photo_of(data, "a")
    np.testing.assert_array_equal(photo.pixels, GREY)
    assert photo.notes == (picture_files.FRAMES_NOTE,)


def test_pictures_of_a_folder_are_found_in_order_of_their_names(tmp_path: Path) -> None:
    for name in ("b.PNG", "a/c.jpg", "a/.hidden.png", "notes.txt", "__MACOSX/._b.png"):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(b"x")
    assert picture_paths(tmp_path) == [tmp_path / "a/c.jpg", tmp_path / "b.PNG"]
    with pytest.raises(DataError, match="holds no pictures"):
        picture_paths(tmp_path / "__MACOSX")
    with pytest.raises(DataError, match="no folder"):
        picture_paths(tmp_path / "nowhere")


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"a\.png cannot be read: No such file"):
        read_photo(tmp_path / "a.png")


def samples() -> list[bytes]:
    grey, colour = Image.fromarray(GREY), Image.fromarray(COLOUR)
    exif = Image.Exif()
    exif[0x0112] = 6
    return [
        packed(grey, exif=exif),
        packed(Image.fromarray(GREY.astype(np.uint16) * 257)),
        packed(colour.convert("RGBA")),
        packed(colour.quantize(8), "GIF"),
        packed(colour, "JPEG", exif=exif),
        packed(colour.convert("CMYK"), "JPEG"),
        packed(colour, "BMP"),
        packed(colour, "TIFF", compression="tiff_lzw"),
        packed(colour, "WEBP"),
        packed(grey, "PPM"),
    ]


def mutated(data: bytes, rng: random.Random) -> bytes:
    changed = bytearray(data)
    for _ in range(rng.randint(1, 6)):
        kind = rng.randrange(3)
        place = rng.randrange(len(changed) or 1)
        if kind == 0 and changed:
            changed[place] = rng.randrange(256)
        elif kind == 1:
            del changed[place : place + rng.randint(1, 40)]
        else:
            changed[place:place] = rng.randbytes(rng.randint(1, 8))
    return bytes(changed)


def test_a_damaged_tiff_is_refused_without_a_word_of_its_decoder(
    capfd: pytest.CaptureFixture[str],
) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (40, 40, 3), np.uint8)
    data = packed(Image.fromarray(noise), "TIFF", compression="tiff_lzw")
    changed = bytearray(data)
    changed[len(data) // 2 : len(data) // 2 + 4] = bytes(4)
    with pytest.raises(DataError, match="decoder error"):
        photo_of(bytes(changed), "a.tif")
    assert capfd.readouterr() == ("", "")
    with pytest.raises(OSError, match="decoder error"):  # control: Pillow alone
        Image.open(BytesIO(changed)).load()
    assert "scanline" in capfd.readouterr().err


def test_what_pillow_logs_is_not_printed(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    data = packed(Image.fromarray(COLOUR), "TIFF")
    samples = struct.pack("<HHIHH", 277, 3, 1, 3, 0)  # tag, type, count, value: samples per pixel
    assert samples in data
    data = data.replace(samples, struct.pack("<HHIHH", 277, 3, 1, 43008, 0))
    monkeypatch.setattr(logging.root, "handlers", [])  # those of pytest
    with pytest.raises(DataError):
        photo_of(data, "a.tif")
    assert capfd.readouterr() == ("", "")
    monkeypatch.setattr(logging.getLogger("PIL"), "handlers", [])  # control
    with pytest.raises(DataError):
        photo_of(data, "a.tif")
    assert "samples per pixel" in capfd.readouterr().err


def test_damaged_files_are_pictures_or_refused_in_one_line() -> None:
    rng = random.Random(SEED)
    refusals, photos = [], []
    for _ in range(60):
        for data in samples():
            try:
                photos.append(photo_of(mutated(data, rng), "fuzzed"))
            except HRMError as error:
                refusals.append(str(error))
    assert min(len(refusals), len(photos)) > 50
    assert not [message for message in refusals if "\n" in message]
    assert {photo.pixels.dtype for photo in photos} == {np.dtype(np.uint8)}
    assert {photo.pixels.ndim for photo in photos} == {2}
