"""Files of the Hugging Face Hub: fetched once, resumed when cut off, and held against the hash that the Hub gives for them.

The cache, HF_HOME, HF_ENDPOINT, HF_TOKEN and HF_HUB_OFFLINE are those of the package huggingface_hub, which does the work.
"""

import hashlib
import logging
import re
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal, NamedTuple
from urllib.parse import unquote

from hrm_core.errors import HRMError, needs_package
from hrm_core.messages import reason

RepoType = Literal["model", "dataset"]

PREFIX = "hf://"
ADDRESS = re.compile(r"hf://(?P<repository>[\w.-]+/[\w.-]+)(@(?P<revision>[^/]+))?(/(?P<file>.+))?")
SHA256 = re.compile(r"[0-9a-f]{64}")  # the ETag of a large file; that of a small one is a git hash
WAITS = (1.0, 2.0, 4.0)  # seconds before each further try of a download that broke off


class HubError(HRMError):
    """A file that could not be had from the Hub."""


class Address(NamedTuple):
    """What hf://owner/repository[@revision][/file] names."""

    repository: str
    revision: str
    file: str | None


class Snapshot(NamedTuple):
    """Files of one commit."""

    commit: str
    paths: list[Path]


def parse_address(text: str) -> Address:
    """Take an address apart. Raises: HubError if it is none."""
    match = ADDRESS.fullmatch(text)
    if match is None:
        raise HubError(
            f"{text} is no address on the Hub; expected hf://owner/repository, with @revision and /file if you like"
        )
    return Address(match["repository"], unquote(match["revision"] or "main"), match["file"])


def fetch(
    repository: str, filename: str, repo_type: RepoType = "model", revision: str = "main"
) -> Path:
    """Bring a file of a repository into the cache, unless the same one is there. Returns: where it lies.

    A download that breaks off is resumed; if even that fails, or the file arrives damaged, it is tried a few times more.
    Progress goes to stderr, if that is a terminal.

    Raises: HubError if it cannot be had, or is not the file that the Hub describes; BackendError without huggingface_hub.
    """
    package = _require_package()
    name = f"{'datasets/' if repo_type == 'dataset' else ''}{repository}"  # as in addresses of pages, too
    where = f"{PREFIX}{name}@{revision}/{filename}"
    download = (
        package.hf_hub_download
    )  # imports the rest of the package, which sets its level of logging
    for wait in (*WAITS, None):
        try:
            with _quiet():
                path = Path(download(repository, filename, repo_type=repo_type, revision=revision))
            _check(path)
            return path
        except (OSError, ValueError, package.errors.HTTPError) as error:
            if wait is None or not _is_passing(error):
                raise HubError(_explained(error, where, name, filename, revision)) from error
            time.sleep(wait)
    raise AssertionError("the last try returns or raises")


def fetch_together(
    repository: str, filenames: Sequence[str], repo_type: RepoType = "model", revision: str = "main"
) -> Snapshot:
    """Bring several files into the cache, all of the same commit whatever is pushed meanwhile. Raises: as `fetch` does."""
    first = fetch(repository, filenames[0], repo_type, revision)
    commit = first.parents[
        filenames[0].count("/")
    ].name  # the cache keeps them as snapshots/<commit>/<filename>
    return Snapshot(
        commit, [first, *(fetch(repository, name, repo_type, commit) for name in filenames[1:])]
    )


def _require_package() -> Any:
    missing = "huggingface_hub is not installed, and hf:// needs it; pip install 'hrm-mlx[hub]'"
    with needs_package("huggingface_hub", missing):
        import huggingface_hub
        import huggingface_hub.errors
    return huggingface_hub


@contextmanager
def _quiet() -> Iterator[None]:
    """Without the package's warnings of each try where nobody watches; what comes of them is said in one line."""
    logger = logging.getLogger("huggingface_hub")
    level = logger.level
    if not sys.stderr.isatty():
        logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)


def _check(path: Path) -> None:
    """Hold a file against the hash in the name it has in the cache, and remove it from there if it is another.

    Raises: OSError, for another try may bring the right one.
    """
    stored = path.parent / path.readlink() if path.is_symlink() else path
    if not SHA256.fullmatch(stored.name):
        return
    with path.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if found != stored.name:
        for name in (
            path.resolve(),
            stored,
            path,
        ):  # a blob may itself be a link, to one that several repositories share
            name.unlink(missing_ok=True)
        raise OSError(
            f"it arrived damaged, with sha256 {found[:12]}…, the Hub says {stored.name[:12]}…"
        )


def _is_passing(error: Exception) -> bool:
    """Whether another try may help: a server in trouble or a line that broke; the package has tried for itself where it found no server."""
    from huggingface_hub import errors

    status = _status(error)
    if status is not None:
        return status == 429 or status >= 500
    is_local = getattr(error, "errno", None) is not None
    return not is_local and not isinstance(
        error,
        ValueError | errors.EntryNotFoundError | errors.HfHubHTTPError | errors.FileMetadataError,
    )


def _explained(error: Exception, where: str, repository: str, filename: str, revision: str) -> str:
    """What went wrong and the way out. `repository` has datasets/ in front where it is one."""
    from huggingface_hub import errors

    cause = (
        error.__cause__
        if isinstance(error, errors.LocalEntryNotFoundError) and error.__cause__
        else error
    )
    status = _status(cause)
    if isinstance(cause, errors.GatedRepoError) or status == 403:
        ask = f"ask for it at huggingface.co/{repository}, then set HF_TOKEN or run `hf auth login`"
        return f"{where} may not be read without permission; {ask}"
    if isinstance(cause, errors.RepositoryNotFoundError) or status == 401:
        return f"{where}: there is no repository {repository}, or it is private; check its name, or set HF_TOKEN"
    if isinstance(cause, errors.RevisionNotFoundError):
        return f"{where}: the repository has no revision {revision}; leave it out for the newest"
    if isinstance(cause, errors.OfflineModeIsEnabled):
        return f"{where} is not in the cache and HF_HUB_OFFLINE is set; unset it and try again"
    if status == 404 or (
        isinstance(cause, errors.EntryNotFoundError)
        and not isinstance(cause, errors.LocalEntryNotFoundError)
    ):
        return f"{where}: the repository has no file {filename}; look at its files at huggingface.co/{repository}"
    if status == 429:
        return f"{where}: the Hub refuses more requests for now (429); wait some minutes, or set HF_TOKEN"
    if status is not None:
        return f"{where}: the Hub answered {status}; try again later"
    why = reason(cause)
    if isinstance(cause, ValueError):
        return f"{where} is no file on the Hub ({why}); expected hf://owner/repository"
    if getattr(cause, "errno", None) is not None and not isinstance(
        cause, ConnectionError | TimeoutError
    ):
        return f"{where} was not written into the cache ({why}); make room, or set HF_HOME"
    return f"{where} could not be fetched ({why}); check the network and HF_ENDPOINT, or name files on this machine"


def _status(error: BaseException) -> int | None:
    """The HTTP status that an error is about."""
    response = getattr(error, "response", None)
    status = getattr(response, "status_code", None)
    return status if isinstance(status, int) else None
