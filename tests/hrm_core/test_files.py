"""Drafts take the place of their target as a whole, locks are real, and nothing is touched that is not ours."""

import errno
import fcntl
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from hrm_core import files
from hrm_core.errors import DataError, HRMError
from hrm_core.files import ASIDE, MARK, Refusal, staged

IN_USE = Refusal(DataError, "choose another place")


# Kills itself before one of its calls of the system: argv is which one, then the target.
KILLED_AT = """
import os, signal, sys
from pathlib import Path
from hrm_core.files import Refusal, staged
from hrm_core.errors import DataError
step, target = int(sys.argv[1]), Path(sys.argv[2])
CALLS = {"open", "fcntl.flock", "os.mkdir", "os.rename", "os.remove", "os.rmdir", "os.scandir", "os.listdir"}
def killing(event, arguments):
    global step
    if event in CALLS:
        step -= 1
        if step < 0:
            os.kill(os.getpid(), signal.SIGKILL)
sys.addaudithook(killing)
with staged(target, Refusal(DataError, ""), replace=True, durable=True) as draft:
    draft.mkdir()
    for name in ("one", "two"):
        (draft / name).write_text("new")
"""


@pytest.fixture
def target(tmp_path: Path) -> Path:
    return tmp_path / "x"


@pytest.fixture
def room(tmp_path: Path) -> Path:
    return tmp_path / ".x.hrm-partial"


def write_file(target: Path, failure: BaseException | None = None) -> None:
    with staged(target, IN_USE) as draft:
        draft.write_text("new")
        if failure is not None:
            raise failure


def write_folder(target: Path, **options: bool) -> None:
    with staged(target, IN_USE, **options) as draft:
        draft.mkdir()
        (draft / "part").write_text("new")


def make_room(room: Path, *names: str) -> None:
    """A work folder as a killed process leaves it, with folders in it."""
    for name in names:
        (room / name).mkdir(parents=True)
    room.mkdir(exist_ok=True)
    (room / MARK).touch()


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_draft_takes_the_place_of_its_target_alone(target: Path) -> None:
    target.write_text("old")
    with staged(target, IN_USE) as draft:
        draft.write_text("new")
        assert target.read_text() == "old"
    assert target.read_text() == "new"
    assert names(target.parent) == ["x"]


@pytest.mark.parametrize("failure", [OSError(), KeyboardInterrupt()])
def test_failure_leaves_the_old_one_alone(target: Path, failure: BaseException) -> None:
    target.write_text("old")
    with pytest.raises(type(failure)):
        write_file(target, failure)
    assert target.read_text() == "old"
    assert names(target.parent) == ["x"]


def test_folder_is_replaced_only_if_asked_or_empty(target: Path) -> None:
    target.mkdir()
    write_folder(target)
    (target / "mine").touch()
    with pytest.raises(OSError, match="not empty"):
        write_folder(target)
    assert names(target) == ["mine", "part"]
    write_folder(target, replace=True)
    assert names(target) == ["part"]
    assert names(target.parent) == ["x"]


@pytest.mark.parametrize("failure", [PermissionError, KeyboardInterrupt])
def test_folder_comes_back_if_its_place_is_not_taken(
    target: Path, monkeypatch: pytest.MonkeyPatch, failure: type[BaseException]
) -> None:
    write_folder(target)
    (target / "old").touch()
    original, may_fail = Path.rename, [False, True, False]

    def rename(path: Path, to: Path) -> Path:
        if may_fail.pop(0):
            raise failure
        return original(path, to)

    monkeypatch.setattr(Path, "rename", rename)
    with pytest.raises(failure):
        write_folder(target, replace=True)
    assert (names(target), may_fail) == (["old", "part"], [])
    assert names(target.parent) == ["x"]


def test_folder_that_cannot_come_back_is_not_removed(
    target: Path, room: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_folder(target)
    originals = [Path.rename]  # for the first one alone

    def rename(path: Path, to: Path) -> None:
        if not originals:
            raise OSError(errno.EIO, "Input/output error")
        originals.pop()(path, to)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "rename", rename)
        with pytest.raises(OSError, match="Input/output error"):
            write_folder(target, replace=True)
    assert names(room / ASIDE) == ["part"]
    write_file(target.with_name("y"))
    with pytest.raises(OSError, match="not empty"):  # it is back
        write_folder(target)
    assert names(target.parent) == ["x", "y"]


def test_durable_draft_is_on_disk_before_and_after(
    target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[tuple[int, bool]] = []

    def fsync(descriptor: int) -> None:
        synced.append((os.fstat(descriptor).st_ino, target.exists()))

    monkeypatch.setattr(os, "fsync", fsync)
    write_folder(target, durable=True)
    before = [(path.stat().st_ino, False) for path in (target / "part", target)]
    assert synced == [*before, (target.parent.stat().st_ino, True)]


def test_kill_at_any_moment_leaves_the_old_one_or_the_new_one(target: Path) -> None:
    old, new = {"one": "old"}, {"one": "new", "two": "new"}
    found, status = [], -signal.SIGKILL
    while status == -signal.SIGKILL:
        with staged(target, IN_USE, replace=True) as draft:
            draft.mkdir()
            (draft / "one").write_text("old")
        command = [sys.executable, "-c", KILLED_AT, str(len(found)), str(target)]
        status = subprocess.run(command, check=False).returncode
        with pytest.raises(OSError, match="not empty"):  # what was moved aside is back
            write_folder(target)
        found.append({path.name: path.read_text() for path in target.iterdir()})
        assert names(target.parent) == ["x"]
    num_old = found.count(old)
    assert status == 0
    assert found == [old] * num_old + [new] * (len(found) - num_old)
    assert 5 < num_old < len(found) - 1  # both kinds of moments were met


def test_lock_is_held_by_one(target: Path) -> None:
    target.touch()
    first = files.lock(target, os.O_RDWR)
    assert first is not None
    assert files.lock(target, os.O_RDWR) is None
    os.close(first)
    second = files.lock(target, os.O_RDWR)
    assert second is not None
    os.close(second)


@pytest.mark.parametrize("made_anew", [False, True])
def test_lock_of_a_file_that_was_removed_meanwhile_is_none(
    target: Path, monkeypatch: pytest.MonkeyPatch, made_anew: bool
) -> None:
    def be_late(descriptor: int, how: int) -> None:
        target.unlink()
        if made_anew:
            target.touch()

    monkeypatch.setattr(fcntl, "flock", be_late)
    assert files.lock(target, os.O_RDWR | os.O_CREAT) is None


def test_lock_that_fails_in_another_way_is_an_error(
    target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(descriptor: int, how: int) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", refuse)
    with pytest.raises(OSError, match="No locks available"):
        write_file(target)


def test_lock_follows_no_link(target: Path, tmp_path: Path) -> None:
    target.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(OSError, match="symbolic link"):
        files.lock(target, os.O_RDWR | os.O_CREAT)
    assert names(tmp_path) == ["x"]


def test_two_cannot_write_one_target(target: Path) -> None:
    message = "is being written by another process; wait for it or choose another place"
    with staged(target, IN_USE) as draft:
        with pytest.raises(DataError, match=message):
            write_file(target)
        assert not target.exists()
        draft.write_text("first")
    assert target.read_text() == "first"


def test_work_folder_of_another_is_not_removed(target: Path, room: Path, tmp_path: Path) -> None:
    def lose_the_room() -> None:
        with staged(target, IN_USE):
            room.rename(tmp_path / "elsewhere")
            make_room(room, "of another")

    with pytest.raises(FileNotFoundError):
        lose_the_room()
    assert names(room) == [MARK, "of another"]


@pytest.mark.parametrize("kind", ["full", "file", "link", "dangling", "link as mark"])
def test_work_folder_that_is_not_ours_is_left_as_it_is(
    target: Path, room: Path, tmp_path: Path, kind: str
) -> None:
    mine = tmp_path / "mine"
    mine.mkdir()
    (mine / "thesis").write_text("mine")
    if kind == "full":
        mine.rename(room)
    elif kind == "file":
        room.write_text("mine")
    elif kind == "link as mark":
        room.mkdir()
        (room / MARK).symlink_to(mine / "thesis")
    else:
        room.symlink_to(mine if kind == "link" else "nowhere")
    before = sorted(tmp_path.rglob("*"))
    message = "is there and no work folder of hrm; rename or remove it, or choose another place"
    with pytest.raises(DataError, match=message):
        write_file(target)
    files.remove_leftovers(tmp_path, only_finished=False)
    assert sorted(tmp_path.rglob("*")) == before


def test_mark_is_there_before_anything_else(target: Path, room: Path) -> None:
    with staged(target, IN_USE) as draft:
        assert names(room) == [MARK]
        draft.touch()


@pytest.mark.parametrize("left", [["x"], ["x", "link"], None], ids=["half", "link", "unmarked"])
def test_work_folder_of_a_killed_process_is_taken_over(
    target: Path, room: Path, tmp_path: Path, left: list[str] | None
) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis").touch()
    if left is None:  # killed between making and marking it
        room.mkdir()
    else:
        make_room(room, *left)
        if "link" in left:
            (room / "link").rmdir()
            (room / "link").symlink_to(tmp_path / "mine")
    write_folder(target)
    assert names(tmp_path) == ["mine", "x"]
    assert names(tmp_path / "mine") == ["thesis"]


def test_what_a_killed_process_moved_aside_comes_back_first(target: Path, room: Path) -> None:
    write_folder(target)
    make_room(room)
    target.rename(files.moved_aside(target))
    with staged(target, IN_USE, replace=True) as draft:
        assert names(target) == ["part"]
        draft.mkdir()
    assert names(target) == []
    assert names(target.parent) == ["x"]


def test_what_was_moved_aside_goes_if_its_place_is_taken(target: Path, tmp_path: Path) -> None:
    aside = tmp_path / "aside"
    for place in (aside, target):
        place.mkdir()
        (place / place.name).touch()
    files.put_back(aside, target)
    assert names(tmp_path) == names(target) == ["x"]
    aside.symlink_to(target)
    files.put_back(aside, target)
    files.put_back(aside, tmp_path / "y")
    assert aside.is_symlink()
    assert names(tmp_path) == ["aside", "x"]


def test_finished_work_folders_of_neighbours_are_removed(tmp_path: Path) -> None:
    rooms = {"done": [], "replaced": [ASIDE], "half": ["half"], "begun": [], "x": []}
    for name, left in rooms.items():
        make_room(tmp_path / f".{name}.hrm-partial", *left)
    for name in ("done", "replaced", "half", "locked"):
        (tmp_path / name).touch()
    make_room(tmp_path / ".locked.hrm-partial")
    descriptor = files.lock(tmp_path / ".locked.hrm-partial")
    assert descriptor is not None
    write_file(tmp_path / "x")
    kept = [".begun.hrm-partial", ".half.hrm-partial", ".locked.hrm-partial"]
    targets = ["done", "half", "locked", "replaced", "x"]
    assert names(tmp_path) == [*kept, *targets]
    files.remove_leftovers(tmp_path, only_finished=False)
    assert names(tmp_path) == [".locked.hrm-partial", *targets]
    os.close(descriptor)


def test_folders_that_were_made_for_nothing_are_removed(tmp_path: Path) -> None:
    target = tmp_path / "a" / "b" / "x"
    with files.parents_made(target):
        assert target.parent.is_dir()
    assert names(tmp_path) == []
    with files.parents_made(target):
        write_file(target)
    assert target.read_text() == "new"


def test_text_is_appended_but_not_through_a_link(target: Path, tmp_path: Path) -> None:
    for line in ("one\n", "two\n"):
        files.append(target, line, IN_USE)
    assert target.read_text() == "one\ntwo\n"
    (tmp_path / "link").symlink_to(target)
    with pytest.raises(DataError, match="link is a link, expected a file; remove it or choose"):
        files.append(tmp_path / "link", "three\n", IN_USE)
    assert target.read_text() == "one\ntwo\n"


@pytest.mark.parametrize("mask", [0o022, 0o027, 0o002, 0o077])
def test_files_have_the_mode_that_the_umask_says(
    target: Path, umask: Callable[[int], int], mask: int
) -> None:
    umask(mask)
    target.touch(0o600)
    files.follow_umask(target)
    write_file(target.with_name("staged"))
    files.append(target.with_name("appended"), "", IN_USE)
    modes = {path.stat().st_mode & 0o777 for path in target.parent.iterdir()}
    assert modes == {0o666 & ~mask}
    assert umask(mask) == mask


def test_file_that_a_user_named_is_replaced_whole(target: Path) -> None:
    def write(failure: OSError | None = None) -> None:
        with files.replaced_whole(target) as draft:
            draft.write_text("new")
            if failure is not None:
                raise failure

    target.write_text("old")
    with pytest.raises(HRMError, match=r"cannot write .*x: No space left on device"):
        write(OSError(errno.ENOSPC, "No space left on device"))
    assert target.read_text() == "old"
    write()
    assert target.read_text() == "new"
    assert names(target.parent) == ["x"]


def test_missing_path_is_named_with_the_folder_it_was_looked_for_in(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(DataError) as relative:
        files.check_exists(Path("a/b"), IN_USE)
    assert str(relative.value) == f"a/b does not exist (in {tmp_path}); choose another place"
    with pytest.raises(DataError) as absolute:
        files.check_exists(tmp_path / "a", IN_USE)
    assert str(absolute.value) == f"{tmp_path / 'a'} does not exist; choose another place"
    Path("link").symlink_to("nowhere")
    files.check_exists(Path("link"), IN_USE)
    files.check_exists(tmp_path, IN_USE)


def test_place_that_will_not_do_is_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.png")
    places = {
        "x.jpg": "expected a name that ends in .png",
        "pipe.png": "it is there and no ordinary file; choose another name",
        "gone/x.png": "there is no folder .*gone; make it first",
        f"{'x' * 240}.png": "the name is too long; choose a shorter one",
    }
    for name, message in places.items():
        with pytest.raises(HRMError, match=message):
            files.check_writable(tmp_path / name, ".png")
    files.check_writable(tmp_path / "x.PNG", ".png")
