"""Where the pictures of a data set come from: a folder or a ZIP file, which is never unpacked.

A picture is named by its path in there, with `/` between folders. With frames, a folder of pictures
is one example, and so is a file of several frames.
"""

import hashlib
import re
import stat
import zipfile
from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import Protocol

from hrm_core.data.picture_files import (
    Photo,
    frames_of,
    is_picture,
    photo_of,
    picture_paths,
    stacked,
)
from hrm_core.data.sources import ZIP, escaped, file_bytes, hashed_entry, refusing_damage
from hrm_core.errors import DataError
from hrm_core.messages import quoted

FILM_SUFFIXES = (".gif", ".tif", ".tiff", ".webp")  # with frames, such a file is an example
MAX_MEMBERS = 1_000_000
MAX_MEMBER_BYTES = 1 << 28  # unpacked
ENCRYPTED = 1  # bit of a member's flags
DRIVE = re.compile(r"[A-Za-z]:")


class Pictures(Protocol):
    """Pictures by name."""

    path: Path

    @property
    def names(self) -> Sequence[str]:
        """Names of the examples that can be read."""

    @property
    def sha256(self) -> str:
        """Hash of all that has been read, or of the whole file."""

    def photos(self, names: Sequence[str]) -> Iterator[Photo]:
        """Yield pictures in this order. Raises: DataError at one that cannot be read."""


class PictureFiles:
    """The picture files of a folder. `frames` of them, or in one of them, are an example."""

    def __init__(self, path: Path, frames: int = 1) -> None:
        """Raises: DataError if there are none."""
        self.path = path
        self._frames = frames
        self._entries: dict[str, bytes] = {}
        self._folders: dict[str, list[str]] = {}
        self.names = self._listed()
        if frames > 1:
            self._folders = _folders(self.names)
            films = [name for name in self.names if _is_film(name)]
            self.names = sorted([*self._folders, *films])

    @property
    def sha256(self) -> str:
        """Hash of names and contents of the files that have been read."""
        in_order = [self._entries[name] for name in sorted(self._entries)]
        return hashlib.sha256(b"".join(in_order)).hexdigest()

    def photos(self, names: Sequence[str]) -> Iterator[Photo]:
        """Yield pictures in this order. Raises: DataError at one that cannot be read."""
        for name in names:
            shown = f"{self.path}: {name}"
            if name in self._folders:
                frames = [photo_of(self._read(each), shown) for each in self._folders[name]]
                yield stacked(frames, shown, self._frames)
            elif self._frames > 1:
                yield frames_of(self._read(name), shown, self._frames)
            else:
                yield photo_of(self._read(name), shown)

    def _read(self, name: str) -> bytes:
        data = self._data(name)
        self._entries[name] = hashed_entry(data, escaped(name))
        return data

    def _listed(self) -> list[str]:
        """Return the names of all picture files, in order."""
        return [path.relative_to(self.path).as_posix() for path in picture_paths(self.path)]

    def _data(self, name: str) -> bytes:
        return file_bytes(self.path / name)


class ZippedPictures(PictureFiles):
    """The picture files in a ZIP file."""

    def __init__(self, path: Path, frames: int = 1) -> None:
        """Raises: DataError if it is damaged, holds no pictures or a member that is not safe."""
        with refusing_damage(path, *ZIP):
            self._archive = zipfile.ZipFile(path)
            self._members = _members(self._archive, path)
        super().__init__(path, frames)

    def _listed(self) -> list[str]:
        return sorted(self._members)

    def _data(self, name: str) -> bytes:
        with refusing_damage(self.path, *ZIP):
            return self._archive.read(self._members[name])


def open_pictures(path: Path, frames: int = 1) -> PictureFiles:
    """Open a folder or a ZIP file of pictures. Raises: DataError naming what is wrong."""
    if path.is_dir():
        return PictureFiles(path, frames)
    if path.suffix.lower() == ".zip":
        return ZippedPictures(path, frames)
    found = "another kind of file" if path.exists() else "not there"
    raise DataError(f"{path} is {found}; expected a folder or a ZIP file of pictures")


def _folders(names: Sequence[str]) -> dict[str, list[str]]:
    """Return the pictures that lie in each folder, those of a film of their own left out."""
    found: dict[str, list[str]] = defaultdict(list)
    for name in names:
        if not _is_film(name):
            found[str(PurePosixPath(name).parent)].append(name)
    return dict(found)


def _is_film(name: str) -> bool:
    return name.lower().endswith(FILM_SUFFIXES)


def _members(archive: zipfile.ZipFile, path: Path) -> dict[str, zipfile.ZipInfo]:
    """Return the members that are pictures by their names. Raises: DataError."""
    found: dict[str, zipfile.ZipInfo] = {}
    infos = archive.infolist()
    if len(infos) > MAX_MEMBERS:
        raise DataError(f"{path} has {len(infos):,} members; expected at most {MAX_MEMBERS:,}")
    for info in infos:
        name = info.filename.replace("\\", "/")
        _check_member(info, name, path)
        if info.is_dir() or not is_picture(name):
            continue
        if name in found:
            raise DataError(f"{path} holds {quoted(name)} twice; take one of them out")
        found[name] = info
    if not found:
        raise DataError(f"{path} holds no pictures; expected a ZIP file of picture files")
    return found


def _check_member(info: zipfile.ZipInfo, name: str, path: Path) -> None:
    """Refuse a member that a sound archive of pictures does not have. Raises: DataError."""
    fault = None
    if name.startswith("/") or DRIVE.match(name) or ".." in name.split("/"):
        fault = "points outside the archive"
    elif stat.S_ISLNK(info.external_attr >> 16):
        fault = "is a link"
    elif info.flag_bits & ENCRYPTED:
        fault = "is encrypted"
    elif info.file_size > MAX_MEMBER_BYTES:
        fault = f"has {info.file_size:,} bytes, more than {MAX_MEMBER_BYTES:,}"
    if fault:
        raise DataError(f"{path}: member {quoted(name)} {fault}; pack the pictures again")
