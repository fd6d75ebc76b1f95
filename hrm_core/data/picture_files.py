"""Read picture files as grey pixels of 8 bits, and fit them to the size of a data set.

PNG, JPEG, BMP, GIF, TIFF, WebP, PGM and PPM are read with Pillow, DICOM with pydicom. What has to be
converted is converted by a fixed rule and noted:

- Colour, palette and CMYK become luma (ITU-R 601-2); transparent pixels are laid on white.
- 16 bits become 8 linearly. Pixels that all fit in 12 bits, or in 8, count as such.
- A picture that its EXIF data turn is turned.

Shapes: H, W pixels; C frames.
"""

import logging
import os
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from io import BytesIO
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageOps, UnidentifiedImageError
from PIL.ExifTags import Base as ExifTag

from hrm_core.data.dicom import SUFFIXES as DICOM_SUFFIXES
from hrm_core.data.dicom import dicom_pixels, is_dicom
from hrm_core.data.sources import file_bytes
from hrm_core.errors import DataError, HRMError
from hrm_core.messages import first_line

FORMATS = ("PNG", "JPEG", "BMP", "GIF", "TIFF", "WEBP", "PPM")
PILLOW_SUFFIXES = (
    ".png",
    ".jpg",
    ".jpeg",
    ".bmp",
    ".gif",
    ".tif",
    ".tiff",
    ".webp",
    ".pgm",
    ".ppm",
)
SUFFIXES = (*PILLOW_SUFFIXES, *DICOM_SUFFIXES)
EXPECTED = "a picture as PNG, JPEG, BMP, GIF, TIFF, WebP, PGM or DICOM"
MIN_SIDE, MAX_SIDE = 2, 8192  # of a file; checked before it is decoded
TURNED = range(2, 9)  # orientations of EXIF other than upright
DEPTHS = (8, 12, 16)  # bits that the pixels of a file of 16 bits may have
DEEP_MODES = ("I", "I;16", "I;16B", "I;16L", "I;16N")
STDERR = 2
NOTES = {  # what is said of the modes of Pillow that are converted
    "1": "1 bit made 8",
    "L": "",
    "LA": "",
    "La": "",
    "P": "palette made grey",
    "PA": "palette made grey",
    "RGB": "colour made grey",
    "RGBA": "colour made grey",
    "RGBa": "colour made grey",
    "RGBX": "colour made grey",
    "YCbCr": "colour made grey",
    "CMYK": "CMYK made grey",
}
ALPHA_NOTE = "alpha laid on white"
TURNED_NOTE = "turned as its EXIF data say"
FRAMES_NOTE = "first frame of several"

for _decoder in ("PIL", "pydicom"):  # what they log is printed if nobody handles it
    logging.getLogger(_decoder).addHandler(logging.NullHandler())

UintArray = npt.NDArray[np.uint8]
Fit = Literal["crop", "stretch"]


class Photo(NamedTuple):
    """A picture as grey pixels, or several as frames."""

    pixels: UintArray  # (H, W), or (C, H, W)
    notes: tuple[str, ...] = ()  # what was converted


def read_photo(path: Path) -> Photo:
    """Read a picture file. Raises: DataError naming it; BackendError if pydicom is missing."""
    return photo_of(_bytes_of(path), str(path))


def photo_of(data: bytes, name: str) -> Photo:
    """Read the bytes of a picture file of this name. Raises: as `read_photo`."""
    if is_dicom(data, name):
        with refusing(name):
            pixels, notes = dicom_pixels(data, name, check_sides)
        return Photo(pixels, notes)
    with refusing(name), Image.open(BytesIO(data), formats=FORMATS) as image:
        check_sides(image.size, name)
        photo = _grey(image, name)
        is_film = getattr(image, "n_frames", 1) > 1
    return Photo(photo.pixels, (*photo.notes, FRAMES_NOTE)) if is_film else photo


def array_photo(array: npt.NDArray[np.generic] | Image.Image, name: str) -> Photo:
    """Take a picture from memory: uint8, uint16 or bool of (H, W), uint8 of (H, W, 3 or 4), or one
    of Pillow. True becomes white. Other types have no fixed range and are refused.

    Raises: DataError beginning with `name`.
    """
    if isinstance(array, Image.Image):
        with refusing(name):
            check_sides(array.size, name)
            return _grey(array, name)
    found = np.asarray(array)
    if found.ndim not in (2, 3) or (found.ndim == 3 and found.shape[2] not in (3, 4)):
        raise DataError(f"{name} has shape {found.shape}; expected (H, W), (H, W, 3) or (H, W, 4)")
    check_sides((found.shape[1], found.shape[0]), name)
    if found.dtype == np.uint8 and found.ndim == 3:
        return _grey(Image.fromarray(found), name)
    if found.dtype == np.uint8:
        return Photo(found)
    if found.dtype == np.bool_ and found.ndim == 2:
        return Photo(found.astype(np.uint8) * np.uint8(255), (NOTES["1"],))
    if found.dtype == np.uint16 and found.ndim == 2:
        return _eight_bits(found, name)
    raise DataError(
        f"{name} holds {found.dtype} of shape {found.shape}; expected uint8 from 0 to 255, "
        "so scale and round it first"
    )


def read_frames(path: Path, count: int) -> UintArray:
    """Read the frames of a folder of pictures, by name, or of a GIF, APNG or TIFF.

    Returns: (C, H, W). Raises: DataError if there are not `count` frames of one size.
    """
    if not path.is_dir():
        return frames_of(_bytes_of(path), str(path), count).pixels
    paths = picture_paths(path)
    _check_count(len(paths), str(path), count)
    return stacked([read_photo(each) for each in paths], str(path), count).pixels


def frames_of(data: bytes, name: str, count: int) -> Photo:
    """Read the frames of one file. Raises: as `read_frames`."""
    photos: list[Photo] = []
    with refusing(name), Image.open(BytesIO(data), formats=FORMATS) as image:
        _check_count(getattr(image, "n_frames", 1), name, count)
        for number in range(count):
            image.seek(number)
            check_sides(image.size, name)
            photos.append(_grey(image, name))
    return stacked(photos, name, count)


def stacked(photos: Sequence[Photo], name: str, count: int) -> Photo:
    """Join pictures to frames (C, H, W). Raises: as `read_frames`."""
    _check_count(len(photos), name, count)
    sizes = sorted({photo.pixels.shape for photo in photos})
    if len(sizes) > 1:
        (height, width), (other_height, other_width) = sizes[0], sizes[-1]
        raise DataError(
            f"{name} has frames of {height}x{width} and {other_height}x{other_width} pixels; "
            "expected one size"
        )
    notes = dict.fromkeys(note for photo in photos for note in photo.notes)
    return Photo(np.stack([photo.pixels for photo in photos]), tuple(notes))


def picture_paths(folder: Path) -> list[Path]:
    """Find all pictures in a folder and the folders in it, by name; hidden ones are left out.

    Raises: DataError if there are none.
    """
    if not folder.is_dir():
        raise DataError(f"{folder} is no folder; expected a folder of pictures")
    names = [path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()]
    found = [folder / name for name in names if is_picture(name)]
    if not found:
        raise DataError(f"{folder} holds no pictures; expected files that end in {_endings()}")
    return sorted(found)


def is_picture(name: str) -> bool:
    """Return True if this path is called like a picture, and neither it nor a folder is hidden."""
    parts = name.split("/")
    is_hidden = any(part.startswith((".", "__MACOSX")) for part in parts)
    return name.lower().endswith(SUFFIXES) and not is_hidden


def fitted(pixels: UintArray, size: tuple[int, int], fit: Fit) -> UintArray:
    """Bring a picture (H, W), or frames (C, H, W), to a size (height, width).

    "crop" takes the largest part of the right shape out of the middle, "stretch" the whole picture.
    The part is then resized by Lanczos windows, which average where it shrinks. A picture of the
    right size stays as it is.
    """
    if pixels.shape[-2:] == tuple(size):
        return pixels
    if pixels.ndim == 3:
        return np.stack([fitted(frame, size, fit) for frame in pixels])
    height, width = pixels.shape
    rows, columns = height, width
    if fit == "crop":
        scale = min(height / size[0], width / size[1])
        rows = max(1, round(size[0] * scale))
        columns = max(1, round(size[1] * scale))
    top, left = (height - rows) // 2, (width - columns) // 2
    part = Image.fromarray(pixels[top : top + rows, left : left + columns])
    return np.asarray(part.resize((size[1], size[0]), Image.Resampling.LANCZOS))


def how_fitted(pixels: UintArray, size: tuple[int, int], fit: Fit) -> str:
    """Say what `fitted` does to a picture; "" if it stays as it is."""
    height, width = pixels.shape[-2:]
    if (height, width) == tuple(size):
        return ""
    if height * size[1] == width * size[0]:
        return "resized"
    return "cropped and resized" if fit == "crop" else "stretched"


def check_sides(size: tuple[int, int], name: str) -> None:
    """Refuse a picture of this (width, height) that is too small or too large. Raises: DataError."""
    width, height = size
    if min(size) < MIN_SIDE or max(size) > MAX_SIDE:
        raise DataError(
            f"{name} has {height}x{width} pixels; expected {MIN_SIDE} to {MAX_SIDE:,} a side"
        )


@contextmanager
def refusing(name: str) -> Iterator[None]:
    """Turn any error of a decoder into a DataError that names the picture, and silence warnings."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    except HRMError:
        raise
    except UnidentifiedImageError as error:
        raise DataError(f"{name} is no picture that can be read; expected {EXPECTED}") from error
    except Image.DecompressionBombError as error:
        raise DataError(
            f"{name} has far too many pixels; expected {MIN_SIDE} to {MAX_SIDE:,} a side"
        ) from error
    except Exception as error:  # a damaged file leads decoders to errors of any kind
        raise DataError(
            f"{name} cannot be read ({first_line(error)}); expected {EXPECTED}, so save it again"
        ) from error


def _grey(image: Image.Image, name: str) -> Photo:
    """Decode a picture and make it grey, with 8 bits a pixel."""
    notes = []
    with _silent() if image.format == "TIFF" else nullcontext():
        image.load()
    if image.getexif().get(ExifTag.Orientation) in TURNED:
        notes.append(TURNED_NOTE)
        image = ImageOps.exif_transpose(image)
    if image.mode in DEEP_MODES:
        pixels, more = _eight_bits(np.asarray(image), name)
        return Photo(pixels, (*notes, *more))
    if image.mode not in NOTES:
        raise DataError(
            f"{name} is of mode {image.mode}, which has no fixed range of grey; "
            "save it with 8 or 16 bits"
        )
    if NOTES[image.mode]:
        notes.append(NOTES[image.mode])
    if image.has_transparency_data:
        notes.append(ALPHA_NOTE)
        image = _on_white(image)
    if image.mode == "CMYK":
        image = image.convert("RGB")
    return Photo(np.array(image.convert("L")), tuple(notes))


@contextmanager
def _silent() -> Iterator[None]:
    """Silence libtiff, which writes what it finds wrong to the process's stderr itself."""
    kept, nowhere = os.dup(STDERR), os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, STDERR)
    try:
        yield
    finally:
        os.dup2(kept, STDERR)
        os.close(kept)
        os.close(nowhere)


def _on_white(image: Image.Image) -> Image.Image:
    """Lay a picture with transparent pixels on white."""
    white = Image.new("RGBA", image.size, "white")
    return Image.alpha_composite(white, image.convert("RGBA")).convert("RGB")


def _eight_bits(pixels: npt.NDArray[np.integer], name: str) -> Photo:
    """Scale pixels of at most 16 bits linearly to 8."""
    lowest, highest = int(pixels.min()), int(pixels.max())
    if lowest < 0 or highest >= 1 << DEPTHS[-1]:
        raise DataError(
            f"{name} has values from {lowest:,} to {highest:,}; save it with 8 or 16 bits"
        )
    depth = next(bits for bits in DEPTHS if highest < 1 << bits)
    scale = 255 / ((1 << depth) - 1)
    scaled = np.rint(pixels.astype(np.float32) * np.float32(scale)).astype(np.uint8)
    return Photo(scaled, (f"{depth} bits in 16 made 8" if depth < 16 else "16 bits made 8",))


def _bytes_of(path: Path) -> bytes:
    """Read a file; a pipe or a device may never end. Raises: DataError."""
    if os.access(path, os.F_OK) and not path.is_file():
        raise DataError(f"{path} is no file; expected {EXPECTED}")
    return file_bytes(path)


def _check_count(found: int, name: str, expected: int) -> None:
    if found != expected:
        raise DataError(
            f"{name} has {found:,} frames, but an example has {expected} (--frames of the data set)"
        )


def _endings() -> str:
    return f"{', '.join(SUFFIXES[:-1])} or {SUFFIXES[-1]}"
