"""Recognise published checkpoints and addresses of the Hub where a model of this project is expected."""

import shlex
import zipfile
from pathlib import Path

from hrm_core.data.sources import DAMAGED
from hrm_core.errors import CheckpointError
from hrm_core.hub import PREFIX

ADDRESS = PREFIX.partition("/")[0]  # what a path keeps of hf://
PAGES = "https:", "huggingface.co"  # and of the page of a repository
SETTINGS_FILE = "all_config.yaml"  # beside published weights
WEIGHTS = "step_*"  # their names
PICKLE = b"\x80"  # begins a file that earlier versions of torch wrote
PICKLED = "/data.pkl"  # ends a name in the archives that torch writes


def refuse_foreign(path: Path) -> None:
    """Refuse what becomes a model only by conversion. Raises: CheckpointError with the command."""
    parts = path.parts
    address: tuple[str, ...] = ()
    if parts[:1] == (ADDRESS,):
        address = parts[1:]
    elif parts[:2] == PAGES:
        address = parts[2:4]  # owner and name
    if address:
        raise _to_convert(PREFIX + "/".join(address), "lies on the Hub", address[-1])
    if path.is_dir() and ((path / SETTINGS_FILE).is_file() or any(path.glob(WEIGHTS))):
        raise _to_convert(str(path), "is a published checkpoint", path.resolve().name)
    if path.is_file() and _is_of_torch(path):
        raise _to_convert(str(path), "is a published checkpoint", path.resolve().parent.name)


def _is_of_torch(path: Path) -> bool:
    """Return True for a file that torch wrote: an archive, or a pickle."""
    try:
        with path.open("rb") as file:
            start = file.read(9)
        if start.startswith(PICKLE):
            return not start.endswith(b"{")  # safetensors, with a header of such a length
        with zipfile.ZipFile(path) as archive:
            return any(name.endswith(PICKLED) for name in archive.namelist())
    except DAMAGED:
        return False  # said where it is read


def _to_convert(source: str, found: str, name: str) -> CheckpointError:
    dest = Path("models") / name
    if dest.resolve() in (Path(source).resolve(), *Path(source).resolve().parents):
        dest = dest.with_name(f"{name}-hrm")
    command = shlex.join(["hrm", "convert", source, str(dest)])
    return CheckpointError(f"{source} {found}; make it a model first: {command}, then use {dest}")
