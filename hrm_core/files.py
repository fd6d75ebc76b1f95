"""Locks, and files and folders that are there as a whole or not at all.

A draft is written into a work folder beside its target, `.NAME.hrm-partial`, and renamed when it is complete. The work
folder is locked as long as its process lives, and holds a mark: no folder of the user's own is taken for one. Links are
refused wherever a name is given by us.
"""

import fcntl
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

from hrm_core.errors import HRMError

SUFFIX = ".hrm-partial"
MARK = ".hrm-work"
ASIDE = ".hrm-replaced"  # in a work folder: what stood where the draft goes


class Refusal(NamedTuple):
    """Error and way out of a caller whose target cannot be written now."""

    error: type[HRMError]
    way_out: str  # instead of waiting for another process, or of moving away what is there


def lock(path: Path, flags: int = os.O_RDONLY | os.O_DIRECTORY) -> int | None:
    """Lock a file or folder for this process, as long as it lives.

    Returns: a descriptor, to be closed at the end; None if another process holds it, or removed it at this moment.

    Raises: OSError if it cannot be opened, or is a link.
    """
    descriptor = os.open(path, flags | os.O_NOFOLLOW, 0o666)
    is_held = False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        is_held = holds(descriptor, path)  # else it was removed between opening and locking
    except BlockingIOError:
        pass
    finally:
        if not is_held:
            os.close(descriptor)
    return descriptor if is_held else None


def holds(descriptor: int, path: Path) -> bool:
    """Return True if the file or folder that is locked is still the one of this name."""
    try:
        return os.path.samestat(os.lstat(path), os.fstat(descriptor))
    except FileNotFoundError:
        return False


@contextmanager
def staged(
    target: Path, refusal: Refusal, *, replace: bool = False, durable: bool = False
) -> Iterator[Path]:
    """Yield a path to write a file or a folder to. It takes the place of `target` at the end, or else is removed.

    A file is replaced always, a folder that holds anything only if `replace`. `durable` makes sure that it is on disk,
    before and after.

    Raises: `refusal.error` if another process writes this target, or its work folder is not ours; OSError.
    """
    with _work_folder(target, refusal) as room:
        draft = room / target.name
        yield draft
        if durable:
            sync(*(draft.iterdir() if draft.is_dir() else ()), draft)
        if replace and draft.is_dir() and os.path.lexists(target):
            target.rename(room / ASIDE)
        draft.rename(target)
        if durable:
            sync(target.parent)


@contextmanager
def replaced_whole(path: Path) -> Iterator[Path]:
    """Yield a path to write a file that a user named; it takes the place of `path` only once it is complete.

    Raises: HRMError when the file cannot be written.
    """
    _refuse_special(path)
    try:
        with staged(path, Refusal(HRMError, "choose another name")) as draft:
            yield draft
    except OSError as error:
        raise HRMError(f"cannot write {path}: {error.strerror or error}") from error


def check_writable(path: Path, suffix: str = "") -> None:
    """Refuse a place for a file that will not do, before hours are spent, or a name that does not end in `suffix`.

    Raises: HRMError.
    """
    if not path.name.lower().endswith(suffix):
        raise HRMError(f"cannot write {path}: expected a name that ends in {suffix}")
    _refuse_special(path)
    if not path.parent.is_dir():
        raise HRMError(f"cannot write {path}: there is no folder {path.parent}; make it first")
    if not os.access(path.parent, os.W_OK):
        raise HRMError(
            f"cannot write {path}: the folder {path.parent} is read-only; choose another"
        )


def append(path: Path, text: str, refusal: Refusal) -> None:
    """Write text at the end of a file. Raises: `refusal.error` if it is a link; OSError."""
    if path.is_symlink():
        raise refusal.error(f"{path} is a link, expected a file; remove it or {refusal.way_out}")
    flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW
    with os.fdopen(os.open(path, flags, 0o666), "a", encoding="utf-8") as file:
        file.write(text)


@contextmanager
def parents_made(path: Path) -> Iterator[None]:
    """Make the folders above a path; those that are empty at the end are removed again."""
    made = [folder for folder in path.parents if not folder.exists()]
    try:
        if made:
            path.parent.mkdir(parents=True, exist_ok=True)
        yield
    finally:
        with suppress(OSError):
            for folder in made:
                folder.rmdir()


def moved_aside(target: Path) -> Path:
    """The folder that stood at a target, of a process that was killed between two renames."""
    return _room_of(target) / ASIDE


def put_back(aside: Path, target: Path) -> None:
    """Let a folder that was moved aside have its place again, or remove it where a new one has taken it."""
    if not is_folder(aside):
        return
    if os.path.lexists(target):
        remove(aside)
    else:
        aside.rename(target)


def remove_leftovers(folder: Path, only_finished: bool = True) -> None:
    """Remove the work folders in a folder whose processes were killed: all, or those whose targets were complete."""
    rooms: list[Path] = []
    with suppress(OSError):
        rooms += folder.glob(f".*{SUFFIX}")
    for room in rooms:
        target = folder / room.name[1 : -len(SUFFIX)]
        with suppress(OSError):
            if _is_marked(room) and (not only_finished or _is_finished(room, target)):
                _remove_leftover(room, target)


def remove(path: Path) -> None:
    """Remove a file, a link or a folder with all that is in it."""
    if is_folder(path):
        shutil.rmtree(path)
    else:
        path.unlink()


def is_folder(path: Path) -> bool:
    """Return True for a folder that is no link."""
    return path.is_dir() and not path.is_symlink()


def sync(*paths: Path) -> None:
    """Make sure that files and folders are on disk, not only in memory."""
    for path in paths:
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def follow_umask(path: Path) -> None:
    """Give a file that a library made for its owner alone the mode of any other new file."""
    umask = os.umask(0o077)  # the only way to read it
    os.umask(umask)
    path.chmod(0o666 & ~umask)


@contextmanager
def _work_folder(target: Path, refusal: Refusal) -> Iterator[Path]:
    """Yield an empty folder beside `target` that this process alone holds; it is removed at the end."""
    room = _room_of(target)
    descriptor = _claim(room, refusal)
    try:
        _mark(room, refusal)
        _settle(room, target)
        yield room
    finally:  # after Ctrl-C too
        with suppress(OSError):
            _leave(room, target, descriptor)
        os.close(descriptor)
        remove_leftovers(target.parent)


def _room_of(target: Path) -> Path:
    return target.parent / f".{target.name}{SUFFIX}"


def _claim(room: Path, refusal: Refusal) -> int:
    """Make a work folder, or take the one of a process that was killed, and lock it. Returns: its descriptor."""
    if os.path.lexists(room) and not is_folder(room):
        raise _not_ours(room, refusal)
    room.mkdir(exist_ok=True)
    try:
        descriptor = lock(room)
    except FileNotFoundError:  # removed at this moment
        descriptor = None
    if descriptor is None:
        raise refusal.error(
            f"{room} is being written by another process; wait for it or {refusal.way_out}"
        )
    return descriptor


def _mark(room: Path, refusal: Refusal) -> None:
    """Mark a new work folder, before anything is written into it or removed from it."""
    if _is_marked(room):
        return
    if any(room.iterdir()):
        raise _not_ours(room, refusal)
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW
    os.close(os.open(room / MARK, flags, 0o666))


def _is_marked(room: Path) -> bool:
    mark = room / MARK
    return is_folder(room) and mark.is_file() and not mark.is_symlink()


def _not_ours(room: Path, refusal: Refusal) -> HRMError:
    return refusal.error(
        f"{room} is there and no work folder of hrm; rename or remove it, or {refusal.way_out}"
    )


def _settle(room: Path, target: Path) -> None:
    """Empty a work folder but for its mark, and put back what was moved aside while no new one took its place."""
    aside = room / ASIDE
    if os.path.lexists(aside) and not os.path.lexists(target):
        aside.rename(target)
    for entry in list(room.iterdir()):
        if entry.name != MARK:
            remove(entry)


def _leave(room: Path, target: Path, descriptor: int) -> None:
    """Remove a work folder that is locked; the mark goes last. One that is not ours is left as it is."""
    if holds(descriptor, room) and _is_marked(room):
        _settle(room, target)
        (room / MARK).unlink()
        room.rmdir()


def _is_finished(room: Path, target: Path) -> bool:
    """Return True if a draft has taken its place: nothing is left but the mark, and what was replaced."""
    left = {path.name for path in room.iterdir()}
    return os.path.lexists(target) and left <= {MARK, ASIDE}


def _remove_leftover(room: Path, target: Path) -> None:
    descriptor = lock(room)
    if descriptor is not None:
        try:
            _leave(room, target, descriptor)
        finally:
            os.close(descriptor)


def _refuse_special(path: Path) -> None:
    """A device or a pipe would be replaced, not written to. Raises: HRMError."""
    if path.exists() and not (path.is_file() or path.is_dir()):
        raise HRMError(
            f"cannot write {path}: it is there and no ordinary file; choose another name"
        )
