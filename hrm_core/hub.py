"""Fetch files of the Hugging Face Hub: once, resumed when cut off, and checked by the Hub's hash.

The cache, HF_HOME, HF_ENDPOINT, HF_TOKEN and HF_HUB_OFFLINE are those of the package
huggingface_hub, which does the work.
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
from hrm_core.messages import quoted, reason

RepoType = Literal["model", "dataset"]

PREFIX = "hf://"
ADDRESS = re.compile(r"hf://(?P<repository>[\w.-]+/[\w.-]+)(@(?P<revision>[^/]+))?(/(?P<file>.+))?")
# huggingface_hub (2.4 and before) takes their values for names of files in its cache, unchecked:
# with `ETag: "../../../x"` it writes the body to x beside the cache
NAMING_HEADERS = ("ETag", "X-Linked-Etag", "X-Repo-Commit")
SHA256 = re.compile(r"[0-9a-f]{64}")  # the ETag of a large file; that of a small one is a git hash
WAITS = (1.0, 2.0, 4.0)  # seconds before each further try of a download that broke off


class HubError(HRMError):
    """A file that could not be fetched from the Hub."""


class Address(NamedTuple):
    """The parts of hf://owner/repository[@revision][/file]."""

    repository: str
    revision: str
    file: str | None


class Snapshot(NamedTuple):
    """Files of one commit."""

    commit: str
    paths: list[Path]


def parse_address(text: str) -> Address:
    """Split an address into its parts. Raises: HubError if it is not one."""
    match = ADDRESS.fullmatch(text)
    if match is None:
        raise HubError(
            f"{text} is no address on the Hub; "
            "expected hf://owner/repository, with @revision and /file if you like"
        )
    return Address(match["repository"], unquote(match["revision"] or "main"), match["file"])


def fetch(
    repository: str, filename: str, repo_type: RepoType = "model", revision: str = "main"
) -> Path:
    """Fetch a file of a repository into the cache, unless it is there. Returns: its path.

    A download that breaks off is resumed; if it fails again, or the file arrives damaged, a few
    more tries are made. Progress goes to stderr, if that is a terminal.

    Raises: HubError if it cannot be fetched, or is not the file that the Hub describes;
    BackendError without huggingface_hub.
    """
    package = _require_package()
    name = f"datasets/{repository}" if repo_type == "dataset" else repository  # as on its page
    where = f"{PREFIX}{name}@{revision}/{filename}"
    # imports the rest of the package, which sets its level of logging
    download = package.hf_hub_download
    for wait in (*WAITS, None):
        try:
            with _quiet(), _checked_answers(package, where):
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
    """Fetch several files of one commit into the cache, even if another is pushed meanwhile.

    Raises: as `fetch` does.
    """
    first, *others = filenames
    path = fetch(repository, first, repo_type, revision)
    folders_inside = first.count("/")
    commit = path.parents[folders_inside].name  # the cache is snapshots/<commit>/<filename>
    paths = [fetch(repository, name, repo_type, commit) for name in others]
    return Snapshot(commit, [path, *paths])


def _require_package() -> Any:
    missing = "huggingface_hub is not installed, and hf:// needs it"
    with needs_package("huggingface_hub", missing, "hub"):
        import huggingface_hub
        import huggingface_hub.errors
    return huggingface_hub


@contextmanager
def _quiet() -> Iterator[None]:
    """Silence the package's warnings of each try if stderr is no terminal.

    The error that remains is reported in one line.
    """
    logger = logging.getLogger("huggingface_hub")
    level = logger.level
    if not sys.stderr.isatty():
        logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)


@contextmanager
def _checked_answers(package: Any, where: str) -> Iterator[None]:
    """Check the names in each answer, before the package takes them for those of files.

    Raises: HubError.
    """

    def check(answer: Any) -> None:
        if answer.request.method != "HEAD":
            return
        for header in NAMING_HEADERS:
            value = answer.headers.get(header, "")
            bare = value.lstrip("W/").strip('"')  # as the package reads an ETag
            if _leads_out(value) or _leads_out(bare):
                raise HubError(
                    f"{where}: the answer names {quoted(value)} as its {header}, a path that leads "
                    "out of the cache; nothing was fetched, check HF_ENDPOINT and the network"
                )

    hooks = package.get_session().event_hooks["response"]
    hooks.append(check)
    try:
        yield
    finally:
        hooks.remove(check)


def _leads_out(name: str) -> bool:
    return name.startswith("/") or ".." in name.split("/")


def _check(path: Path) -> None:
    """Compare a file with the hash in its name in the cache, and remove it if they differ.

    Raises: OSError, because another try may bring the right file.
    """
    stored = path.parent / path.readlink() if path.is_symlink() else path
    if not SHA256.fullmatch(stored.name):
        return
    with path.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if found == stored.name:
        return
    shared = path.resolve()  # a blob may be a link, too: to one that several repositories share
    for name in (shared, stored, path):
        name.unlink(missing_ok=True)
    raise OSError(
        f"it arrived damaged, with sha256 {found[:12]}…, the Hub says {stored.name[:12]}…"
    )


def _is_passing(error: Exception) -> bool:
    """Return True if another try may help: the server is in trouble, or the connection broke.

    If no server was found, the package has tried several times itself.
    """
    from huggingface_hub import errors

    status = _status(error)
    if status is not None:
        return status == 429 or status >= 500
    if getattr(error, "errno", None) is not None:  # of this machine
        return False
    lasting = (
        ValueError,
        errors.EntryNotFoundError,
        errors.HfHubHTTPError,
        errors.FileMetadataError,
    )
    return not isinstance(error, lasting)


def _explained(error: Exception, where: str, repository: str, filename: str, revision: str) -> str:
    """Return the message of a failed fetch: its cause and the way out.

    `repository` begins with datasets/ if it is one.
    """
    from huggingface_hub import errors

    cause: BaseException = error
    if isinstance(error, errors.LocalEntryNotFoundError) and error.__cause__:
        cause = error.__cause__
    status = _status(cause)
    page = f"huggingface.co/{repository}"
    if isinstance(cause, errors.GatedRepoError) or status == 403:
        ask = f"ask for it at {page}, then set HF_TOKEN or run `hf auth login`"
        return f"{where} may not be read without permission; {ask}"
    if isinstance(cause, errors.RepositoryNotFoundError) or status == 401:
        problem = f"there is no repository {repository}, or it is private"
        return f"{where}: {problem}; check its name, or set HF_TOKEN"
    if isinstance(cause, errors.RevisionNotFoundError):
        return f"{where}: the repository has no revision {revision}; leave it out for the newest"
    if isinstance(cause, errors.OfflineModeIsEnabled):
        return f"{where} is not in the cache and HF_HUB_OFFLINE is set; unset it and try again"
    is_local = isinstance(cause, errors.LocalEntryNotFoundError)
    is_missing = isinstance(cause, errors.EntryNotFoundError) and not is_local
    if status == 404 or is_missing:
        return f"{where}: the repository has no file {filename}; look at its files at {page}"
    if status is not None:
        return f"{where}: {_refused(status)}"
    return _unanswered(cause, where)


def _refused(status: int) -> str:
    """Describe an HTTP status of the Hub and the way out."""
    if status == 429:
        return "the Hub refuses more requests for now (429); wait some minutes, or set HF_TOKEN"
    return f"the Hub answered {status}; try again later"


def _unanswered(cause: BaseException, where: str) -> str:
    """Return the message of an error that is not an answer of the Hub."""
    why = reason(cause)
    if isinstance(cause, ValueError):
        return f"{where} is no file on the Hub ({why}); expected hf://owner/repository"
    is_of_network = isinstance(cause, ConnectionError | TimeoutError)
    if getattr(cause, "errno", None) is not None and not is_of_network:
        return f"{where} was not written into the cache ({why}); make room, or set HF_HOME"
    way_out = "check the network and HF_ENDPOINT, or name files on this machine"
    return f"{where} could not be fetched ({why}); {way_out}"


def _status(error: BaseException) -> int | None:
    """Return the HTTP status of an error; None if it has none."""
    response = getattr(error, "response", None)
    status = getattr(response, "status_code", None)
    return status if isinstance(status, int) else None
