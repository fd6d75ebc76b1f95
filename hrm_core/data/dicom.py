"""Read a DICOM file as grey pixels of 8 bits, as a viewer shows it first.

Stored values are rescaled (slope and intercept), then seen through the file's first window, its
table of grey values, or, without either, from the lowest value to the highest. MONOCHROME1, where
high values are dark, is inverted.

Source: DICOM PS3.3, C.11.1 (Modality LUT) and C.11.2 (VOI LUT).
"""

from collections.abc import Callable
from io import BytesIO
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from hrm_core.errors import DataError, needs_package

if TYPE_CHECKING:
    from pydicom import Dataset

SUFFIXES = (".dcm", ".dicom")
PREAMBLE, MAGIC = 128, b"DICM"
GREY = ("MONOCHROME1", "MONOCHROME2")
DEFLATED = b"1.2.840.10008.1.2.1.99"  # UID of a transfer syntax, in the head of a file
HEAD = 4096  # bytes; the group of the transfer syntax comes first
INVERTED_NOTE = "MONOCHROME1 inverted"

FloatArray = npt.NDArray[np.float64]


def is_dicom(data: bytes, name: str) -> bool:
    """Return True if a file has DICOM's mark, or its name an ending of DICOM."""
    return data[PREAMBLE:].startswith(MAGIC) or name.lower().endswith(SUFFIXES)


def dicom_pixels(
    data: bytes, name: str, check_sides: Callable[[tuple[int, int], str], None]
) -> tuple[npt.NDArray[np.uint8], tuple[str, ...]]:
    """Decode a DICOM file. Returns: (H, W), and notes of what was converted.

    Raises: DataError if it holds no single grey picture; BackendError if pydicom is missing; errors
        of any other kind if it is damaged.
    """
    missing = f"{name} is a DICOM file, which needs pydicom"
    with needs_package("pydicom", missing, "dicom"):
        import pydicom
        from pydicom.pixels.processing import apply_modality_lut

    if DEFLATED in data[:HEAD]:  # pydicom would unpack it whatever its size
        raise DataError(f"{name} is a deflated DICOM file; save it with another transfer syntax")
    found = pydicom.dcmread(BytesIO(data), force=True)
    _check_picture(found, name)
    check_sides((int(found.Columns), int(found.Rows)), name)
    values = np.asarray(apply_modality_lut(found.pixel_array, found), np.float64)
    shares, note = _shown(values, found)
    notes = [note]
    if found.PhotometricInterpretation == "MONOCHROME1":
        notes.append(INVERTED_NOTE)
        shares = 1 - shares
    return np.rint(255 * np.clip(shares, 0, 1)).astype(np.uint8), tuple(notes)


def _check_picture(found: "Dataset", name: str) -> None:
    """Refuse a file without pixels, in colour, or with several frames. Raises: DataError."""
    if not any(key in found for key in ("PixelData", "FloatPixelData", "DoubleFloatPixelData")):
        raise DataError(f"{name} is a DICOM file without pixels; expected a picture")
    kind = str(found.get("PhotometricInterpretation", "of no kind"))
    if kind not in GREY:
        raise DataError(f"{name} is a DICOM file {kind}; expected {' or '.join(GREY)}")
    num_frames = int(found.get("NumberOfFrames") or 1)
    if num_frames != 1:
        raise DataError(f"{name} is a DICOM file of {num_frames} frames; expected one picture")


def _shown(values: FloatArray, found: "Dataset") -> tuple[FloatArray, str]:
    """Return values as shares of white, and how they were found."""
    from pydicom.pixels.processing import apply_voi_lut

    center, width = _first(found.get("WindowCenter")), _first(found.get("WindowWidth"))
    if center is not None and width is not None:
        return (values - (center - 0.5)) / max(width - 1, 1) + 0.5, "DICOM window"
    if found.get("VOILUTSequence"):
        bits = int(found.VOILUTSequence[0].LUTDescriptor[2])
        shown = apply_voi_lut(values.astype(np.int64), found)
        return np.asarray(shown, np.float64) / ((1 << bits) - 1), "DICOM table of grey values"
    low, high = values.min(), values.max()
    return (values - low) / max(high - low, 1), "DICOM without a window, from lowest to highest"


def _first(value: Any) -> float | None:
    """Return a number, or the first of several; None where the field is empty or missing."""
    if isinstance(value, int | float):
        return float(value)
    return float(value if isinstance(value, str) else value[0]) if value else None
