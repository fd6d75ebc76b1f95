import random
import sys
import tracemalloc
from io import BytesIO
from typing import Any

import numpy as np
import pytest

from hrm_core.data.dicom import INVERTED_NOTE
from hrm_core.data.picture_files import photo_of
from hrm_core.errors import BackendError, DataError, HRMError

pydicom = pytest.importorskip("pydicom", reason="pydicom is not installed")
from pydicom.dataset import Dataset, FileMetaDataset  # noqa: E402
from pydicom.uid import (  # noqa: E402
    DeflatedExplicitVRLittleEndian,
    ExplicitVRLittleEndian,
    SecondaryCaptureImageStorage,
)

STORED = np.random.default_rng(5).integers(0, 4096, (12, 10), np.uint16)


def dicom_file(stored: np.ndarray = STORED, **settings: Any) -> bytes:
    """A DICOM file of 12 bits; a setting of None is left out."""
    file = Dataset()
    file.file_meta = FileMetaDataset()
    file.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    file.file_meta.MediaStorageSOPClassUID = SecondaryCaptureImageStorage
    file.file_meta.MediaStorageSOPInstanceUID = "1.2.3"
    file.SOPClassUID, file.SOPInstanceUID = SecondaryCaptureImageStorage, "1.2.3"
    usual = {
        "Rows": stored.shape[0],
        "Columns": stored.shape[1],
        "SamplesPerPixel": 1,
        "PhotometricInterpretation": "MONOCHROME2",
        "BitsAllocated": 16,
        "BitsStored": 12,
        "HighBit": 11,
        "PixelRepresentation": 0,
        "PixelData": stored.tobytes(),
    }
    for name, value in {**usual, **settings}.items():
        if value is not None:
            setattr(file, name, value)
    written = BytesIO()
    file.save_as(written, enforce_file_format=True)
    return written.getvalue()


def windowed(values: np.ndarray, center: float, width: float) -> np.ndarray:
    """The linear window of DICOM PS3.3, C.11.2.1.2, case by case."""
    shown = np.empty(values.shape)
    for place, value in np.ndenumerate(values):
        if value <= center - 0.5 - (width - 1) / 2:
            shown[place] = 0
        elif value > center - 0.5 + (width - 1) / 2:
            shown[place] = 255
        else:
            shown[place] = ((value - (center - 0.5)) / (width - 1) + 0.5) * 255
    return np.rint(shown).astype(np.uint8)


def test_a_window_is_applied_to_rescaled_values() -> None:
    data = dicom_file(
        RescaleSlope=2, RescaleIntercept=-1000, WindowCenter=[3000, 9], WindowWidth=[2000, 9]
    )
    photo = photo_of(data, "a.dcm")
    expected = windowed(2.0 * STORED - 1000, 3000, 2000)
    np.testing.assert_array_equal(photo.pixels, expected, strict=True)
    assert photo.notes == ("DICOM window",)
    unscaled = windowed(STORED.astype(float), 3000, 2000)  # control
    assert (unscaled != expected).any()


def test_monochrome1_is_inverted() -> None:
    window = {"WindowCenter": 2000, "WindowWidth": 3000}
    plain = photo_of(dicom_file(**window), "a")
    data = dicom_file(PhotometricInterpretation="MONOCHROME1", **window)
    inverted = photo_of(data, "a")
    assert abs(255 - plain.pixels.astype(int) - inverted.pixels).max() <= 1  # halves round to even
    assert inverted.notes == ("DICOM window", INVERTED_NOTE)


def test_without_a_window_grey_runs_from_the_lowest_value_to_the_highest() -> None:
    photo = photo_of(dicom_file(), "a")
    low, high = int(STORED.min()), int(STORED.max())
    expected = np.rint((STORED.astype(float) - low) / (high - low) * 255).astype(np.uint8)
    np.testing.assert_array_equal(photo.pixels, expected)
    assert "without a window" in photo.notes[0]


@pytest.mark.parametrize("empty", ["", []])
def test_an_empty_window_is_none(empty: Any) -> None:
    photo = photo_of(dicom_file(WindowCenter=empty, WindowWidth=empty), "a")
    plain = photo_of(dicom_file(), "a")
    np.testing.assert_array_equal(photo.pixels, plain.pixels)
    assert photo.notes == plain.notes


def test_a_table_of_grey_values_is_used() -> None:
    table = Dataset()
    table.LUTDescriptor = [4096, 0, 12]
    table.LUTData = np.arange(4095, -1, -1, dtype="<u2").tobytes()
    photo = photo_of(dicom_file(VOILUTSequence=[table]), "a")
    expected = np.rint((4095 - STORED.astype(float)) / 4095 * 255).astype(np.uint8)
    np.testing.assert_array_equal(photo.pixels, expected)


@pytest.mark.parametrize(
    ("data", "found"),
    [
        (dicom_file(PixelData=None), "without pixels"),
        (dicom_file(PhotometricInterpretation="RGB", SamplesPerPixel=3), "DICOM file RGB"),
        (dicom_file(NumberOfFrames=4), "4 frames"),
        (dicom_file(Rows=20_000, Columns=20_000), "20000x20000 pixels"),
        (dicom_file(PixelData=STORED.tobytes()[:-50]), "cannot be read"),
        (b"no DICOM at all", "a.dcm"),
        (b"", "a.dcm"),
    ],
)
def test_what_shows_no_single_grey_picture_is_refused(data: bytes, found: str) -> None:
    with pytest.raises(DataError, match=found) as refusal:
        photo_of(data, "a.dcm")
    assert "\n" not in str(refusal.value)


def test_a_deflated_file_is_refused_before_it_is_unpacked() -> None:
    file = pydicom.dcmread(BytesIO(dicom_file(np.zeros((2048, 2048), np.uint16))))
    file.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
    packed = BytesIO()
    file.save_as(packed)
    assert len(packed.getvalue()) < 1 << 16
    tracemalloc.start()
    with pytest.raises(DataError, match="another transfer syntax"):
        photo_of(packed.getvalue(), "a.dcm")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 1 << 20  # 8 MiB of pixels


def test_a_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pydicom", None)
    with pytest.raises(BackendError, match=r"pip install 'pydicom>=3\.0'"):
        photo_of(dicom_file(), "a")


def test_damaged_files_are_pictures_or_refused_in_one_line() -> None:
    rng = random.Random(6)
    data = dicom_file(WindowCenter=2000, WindowWidth=3000)
    messages, num_photos = [], 0
    for _ in range(200):
        changed = bytearray(data)
        for _ in range(rng.randint(1, 5)):
            changed[rng.randrange(128, len(changed))] = rng.randrange(256)
        if rng.random() < 0.2:
            del changed[rng.randrange(len(changed)) :]
        try:
            photo = photo_of(bytes(changed), "fuzzed.dcm")
        except HRMError as error:
            messages.append(str(error))
        else:
            num_photos += photo.pixels.dtype == np.uint8
    assert min(num_photos, len(messages)) > 20
    assert num_photos + len(messages) == 200
    assert not [message for message in messages if "\n" in message]
