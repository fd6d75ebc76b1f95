"""torch.compile: where compiled code is kept, and what the user is told of it."""

import os
import sys
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Any

import torch

from hrm_core.errors import BackendError
from hrm_core.messages import reason

# Source: torch/_inductor/runtime/cache_dir_utils.py; without it torch takes a folder of /tmp
CACHE = "TORCHINDUCTOR_CACHE_DIR"
GRAPHS = "fxgraph"  # the folder in it that has one for each compiled graph

_announced: set[Path] = set()  # caches that this process has found empty


def compiled(function: Callable[..., Any], whole: bool, speaks: bool) -> Callable[..., Any]:
    """Compile a function at its first call; `whole`: into one graph or not at all.

    If it `speaks`, the first call tells that it takes long where nothing has been compiled yet.
    """
    cache = keep_code()  # first: torch's compiler reads the folder when it is imported
    from torch._dynamo.exc import BackendCompilerFailed  # as slow to import as torch itself

    call_compiled = torch.compile(function, fullgraph=whole)

    @wraps(call_compiled)
    def call(*arguments: Any) -> Any:
        nonlocal speaks
        if speaks and cache:
            announce(cache)
        speaks = False
        try:
            return call_compiled(*arguments)
        except BackendCompilerFailed as error:
            raise BackendError(
                f"torch.compile failed ({reason(error, 200)}); it needs a C++ compiler on a CPU; use --compile off"
            ) from error

    return call


def keep_code() -> Path | None:
    """Choose a folder for compiled code that outlasts a restart, unless the user has chosen one.

    Returns: the folder; None if it cannot be made, and torch takes its own.
    """
    if CACHE not in os.environ:
        try:
            base = Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser()
            cache = base / "hrm-mlx" / "torchinductor"
            cache.mkdir(parents=True, exist_ok=True)
        except (OSError, RuntimeError):  # RuntimeError: the user has no home
            return None
        if not os.access(cache, os.W_OK):
            return None
        os.environ[CACHE] = str(cache)
    return Path(os.environ[CACHE])


def announce(cache: Path) -> None:
    """Tell on stderr, once, that compilation takes long, if there is no graph in the cache yet."""
    graphs = cache / GRAPHS
    if cache in _announced or (graphs.is_dir() and any(graphs.iterdir())):
        return
    _announced.add(cache)
    line = f"compiling: the first result takes a minute or two; later runs find the code in {cache}"
    print(line, file=sys.stderr)
