"""Locks, and files and folders that are written as a whole or not at all.

A draft is written into a work folder beside its target, `.NAME.hrm-partial`, and renamed when it is
complete. The work folder is locked while its process lives, and holds a mark, so that a folder of
the user's own is never taken for one. Links are refused wherever this module chooses the name.
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
ASIDE = ".hrm-replaced"  # in a work folder: the old content of the target


LFS_POINTER = b"version https://git-lfs.github.com/spec/"


class Refusal(NamedTuple):
    """Error and way out for a path that cannot be used now."""

    error: type[HRMError]
    way_out: str  # of a target: an alternative to waiting, or to moving away what is there


def refuse_pointer(path: Path, start: bytes, error: type[HRMError]) -> None:
    """Refuse a file that only names another to Git LFS; `start` is how it begins. Raises: `error`."""
    if start.startswith(LFS_POINTER):
        raise error(f"{path} is a pointer of Git LFS, not the file itself; get it by git lfs pull")


def lock(path: Path, flags: int = os.O_RDONLY | os.O_DIRECTORY) -> int | None:
    """Lock a file or folder for as long as this process lives.

    Returns: a descriptor, to be closed at the end; None if another process holds the lock, or has
    just removed the file.

    Raises: OSError if it cannot be opened, or is a link.
    """
    descriptor = os.open(path, flags | os.O_NOFOLLOW, 0o666)
    is_held = False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        is_held = holds(descriptor, path)  # False if it was removed between opening and locking
    except BlockingIOError:
        pass
    finally:
        if not is_held:
            os.close(descriptor)
    return descriptor if is_held else None


def holds(descriptor: int, path: Path) -> bool:
    """Return True if the locked file or folder is still the one of this name."""
    try:
        return os.path.samestat(os.lstat(path), os.fstat(descriptor))
    except FileNotFoundError:
        return False


@contextmanager
def staged(
    target: Path, refusal: Refusal, *, replace: bool = False, durable: bool = False
) -> Iterator[Path]:
    """Yield a path for a draft, a file or a folder; rename it to `target` at the end.

    The draft of a block that raises is removed. A file is always replaced, a folder that is not
    empty only if `replace`. `durable` flushes the draft, and then the rename, to disk.

    Raises: `refusal.error` if another process writes this target, or a folder of the user's own has
    the name of the work folder; OSError.
    """
    with _work_folder(target, refusal) as room:
        draft = room / target.name
        yield draft
        if durable:
            inside = draft.iterdir() if draft.is_dir() else ()
            sync(*inside, draft)
        if replace and draft.is_dir() and os.path.lexists(target):
            target.rename(room / ASIDE)
        draft.rename(target)
        if durable:
            sync(target.parent)


@contextmanager
def replaced_whole(path: Path) -> Iterator[Path]:
    """Yield a path for a draft of a file that the user named; rename it when it is complete.

    Raises: HRMError if the file cannot be written.
    """
    _refuse_special(path)
    try:
        with staged(path, Refusal(HRMError, "choose another name")) as draft:
            yield draft
    except OSError as error:
        raise HRMError(f"cannot write {path}: {error.strerror or error}") from error


def check_writable(path: Path, suffix: str = "") -> None:
    """Refuse a place where a file cannot be written, or a name that does not end in `suffix`.

    Commands call this first, before hours are spent. Raises: HRMError.
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
    if len(os.fsencode(_room_of(path).name)) > os.pathconf(path.parent, "PC_NAME_MAX"):
        raise HRMError(f"cannot write {path}: the name is too long; choose a shorter one")


def check_exists(path: Path, refusal: Refusal) -> None:
    """Refuse a path where nothing is. Raises: `refusal.error`."""
    if not os.path.lexists(path):
        place = "" if path.is_absolute() else f" (in {Path.cwd()})"
        raise refusal.error(f"{path} does not exist{place}; {refusal.way_out}")


def append(path: Path, text: str, refusal: Refusal) -> None:
    """Append text to a file. Raises: `refusal.error` if it is a link; OSError."""
    if path.is_symlink():
        raise refusal.error(f"{path} is a link, expected a file; remove it or {refusal.way_out}")
    flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW
    with os.fdopen(os.open(path, flags, 0o666), "a", encoding="utf-8") as file:
        file.write(text)


@contextmanager
def parents_made(path: Path) -> Iterator[None]:
    """Make the folders above a path; remove those again that are empty at the end."""
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
    """Return where a process that is killed between two renames leaves an old folder."""
    return _room_of(target) / ASIDE


def put_back(aside: Path, target: Path) -> None:
    """Move a folder that was moved aside back, or remove it if a new one has taken its place."""
    if not is_folder(aside):
        return
    if os.path.lexists(target):
        remove(aside)
    else:
        aside.rename(target)


def remove_leftovers(folder: Path, only_finished: bool = True) -> None:
    """Remove the work folders of killed processes: those whose target is complete, or all."""
    rooms: list[Path] = []
    with suppress(OSError):
        rooms += folder.glob(f".*{SUFFIX}")
    for room in rooms:
        name = room.name[1 : -len(SUFFIX)]
        target = folder / name
        with suppress(OSError):
            if _is_marked(room) and (not only_finished or _is_finished(room, target)):
                _remove_leftover(room, target)


def remove(path: Path) -> None:
    """Remove a file, a link, or a folder with its content."""
    if is_folder(path):
        shutil.rmtree(path)
    else:
        path.unlink()


def remove_at_once(path: Path, refusal: Refusal) -> None:
    """Remove a file or folder in one step for those who read it: a reader never finds a part of it.

    Raises: `refusal.error` if another process writes it; OSError.
    """
    with _work_folder(path, refusal) as room:
        path.rename(room / path.name)  # and is removed with the work folder


def is_folder(path: Path) -> bool:
    """Return True for a folder that is not a link."""
    return path.is_dir() and not path.is_symlink()


def sync(*paths: Path) -> None:
    """Flush files and folders to disk."""
    for path in paths:
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def follow_umask(path: Path) -> None:
    """Give a file the mode of any other new file, where a library makes it private."""
    umask = os.umask(0o077)  # the only way to read it
    os.umask(umask)
    path.chmod(0o666 & ~umask)


@contextmanager
def _work_folder(target: Path, refusal: Refusal) -> Iterator[Path]:
    """Yield an empty folder beside `target` that only this process holds; remove it at the end."""
    room = _room_of(target)
    descriptor = _claim(room, refusal)
    try:
        _mark(room, refusal)
        _settle(room, target)
        yield room
    finally:  # also after Ctrl-C
        with suppress(OSError):
            _leave(room, target, descriptor)
        os.close(descriptor)
        remove_leftovers(target.parent)


def _room_of(target: Path) -> Path:
    return target.parent / f".{target.name}{SUFFIX}"


def _claim(room: Path, refusal: Refusal) -> int:
    """Make a work folder, or take over one of a killed process, and lock it. Returns: a descriptor."""
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
    """Mark a new work folder before anything is written into it or removed from it."""
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
    """Empty a work folder but for its mark; move old content back if the target is missing."""
    aside = room / ASIDE
    if os.path.lexists(aside) and not os.path.lexists(target):
        aside.rename(target)
    for entry in list(room.iterdir()):
        if entry.name != MARK:
            remove(entry)


def _leave(room: Path, target: Path, descriptor: int) -> None:
    """Remove a locked work folder, its mark last; leave a folder without our mark alone."""
    if holds(descriptor, room) and _is_marked(room):
        _settle(room, target)
        (room / MARK).unlink()
        room.rmdir()


def _is_finished(room: Path, target: Path) -> bool:
    """Return True if the draft became the target: only the mark and old content are left."""
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
    """Refuse a device or a pipe, which would be replaced, not written to. Raises: HRMError."""
    if path.exists() and not (path.is_file() or path.is_dir()):
        raise HRMError(
            f"cannot write {path}: it is there and no ordinary file; choose another name"
        )
