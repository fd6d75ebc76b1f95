"""`hrm generate`: continue texts with a trained model."""

import json
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from .options import FILE, MODEL, backend_options, json_option, open_model, seed_option
from .tables import print_table

if TYPE_CHECKING:
    from hrm_core.backend import Backend
    from hrm_core.inference.generating import Sampling
    from hrm_core.tasks.capabilities import Generative
    from hrm_core.tasks.contract import TokenArray

STDIN = "-"


@click.command()
@click.argument("model", type=MODEL)
@click.option(
    "--prompt",
    "-p",
    "prompts",
    multiple=True,
    metavar="TEXT",
    help='Text to go on from; "-" reads stdin. May be repeated.',
)
@click.option("--prompts", "file", type=FILE, help="Read prompts from a file, one a line.")
@click.option(
    "--max-tokens",
    "-m",
    type=click.IntRange(1),
    default=100,
    show_default=True,
    help="End after so many tokens.",
)
@click.option(
    "--temp",
    type=click.FloatRange(0),
    default=0.0,
    show_default=True,
    help="Temperature; 0 takes the most likely token every time.",
)
@click.option(
    "--top-p",
    type=click.FloatRange(0, 1, min_open=True),
    default=1.0,
    show_default=True,
    help="Draw from the likeliest tokens that have this probability together.",
)
@click.option(
    "--min-p",
    type=click.FloatRange(0, 1),
    default=0.0,
    show_default=True,
    help="Draw from tokens of at least this share of the likeliest one's probability.",
)
@click.option(
    "--top-k",
    type=click.IntRange(0),
    default=0,
    show_default=True,
    help="Draw from the K likeliest tokens; 0: from all.",
)
@seed_option
@click.option(
    "--top",
    type=click.IntRange(1),
    metavar="N",
    help="Print the N most likely next tokens of each prompt instead of going on.",
)
@click.option(
    "--stateful/--stateless",
    default=False,
    help="Stateful, an experiment: keep the carry while the text grows, one more ACT step a token. "
    "[default: stateless]",
)
@json_option
@backend_options
def generate(
    model: Path,
    prompts: tuple[str, ...],
    file: Path | None,
    max_tokens: int,
    temp: float,
    top_p: float,
    min_p: float,
    top_k: int,
    seed: int,
    top: int | None,
    stateful: bool,
    as_json: bool,
    make_backend: Callable[..., Any],
) -> None:
    """Continue a text token by token. The text goes to stdout as it grows; speed and memory go to stderr.

    \b
    Examples:
        hrm generate runs/shakespeare -p "ROMEO:" --temp 0.8
        hrm generate runs/shakespeare -p "To be" --top 5
        hrm generate runs/shakespeare --prompts prompts.txt --max-tokens 300 --json
    """
    from hrm_core.inference.generating import Sampling, require_generative
    from hrm_core.inference.loading import task_of

    if top is not None and stateful:
        raise click.UsageError("--top asks about each prompt alone; leave out --stateful")
    loaded = open_model(model)
    task: Any = require_generative(task_of(loaded), loaded.config)
    asked = [(text, _encoded(task, text)) for text in _texts(prompts, file)]
    backend = make_backend(loaded.config)
    backend.load_weights(loaded.weights)
    if top is not None:
        for text, tokens in asked:
            _print_top(backend, task, text, tokens, top, as_json)
        return
    sampling = Sampling(temp, top_p, min_p, top_k, seed)
    for number, (text, tokens) in enumerate(asked):
        if len(asked) > 1 and not as_json:
            click.echo(f"{chr(10) if number else ''}[{number + 1} of {len(asked)}] {text}")
        _continue(backend, task, text, tokens, max_tokens, sampling, stateful, as_json)


def _texts(prompts: Sequence[str], file: Path | None) -> list[str]:
    """Return the prompts of a user. Raises: UsageError, HRMError."""
    from hrm_core.data.sources import decoded, file_bytes

    texts = [_stdin() if prompt == STDIN else prompt for prompt in prompts]
    if file is not None:
        lines = decoded(file, file_bytes(file)).replace("\r\n", "\n").split("\n")
        texts += [line for line in lines if line]
    if not texts:
        raise click.UsageError('no prompt is given; name one, e.g. -p "Once upon a time"')
    return texts


def _stdin() -> str:
    """Read stdin. Raises: DataError if it is not UTF-8."""
    from hrm_core.errors import DataError

    try:
        return sys.stdin.read()
    except UnicodeDecodeError as error:
        raise DataError(f"stdin is not UTF-8: byte {error.start:,}; convert it") from error


def _encoded(task: "Generative", text: str) -> "TokenArray":
    """Return the tokens of a prompt. Raises: PuzzleError quoting the prompt."""
    from hrm_core.errors import PuzzleError
    from hrm_core.inference.generating import check_prompt
    from hrm_core.messages import quoted

    try:
        tokens = task.encode(text)
        check_prompt(tokens)
    except PuzzleError as error:
        raise PuzzleError(f"prompt {quoted(text)}: {error}") from error
    return tokens


def _continue(
    backend: "Backend",
    task: "Generative",
    text: str,
    prompt: "TokenArray",
    max_tokens: int,
    sampling: "Sampling",
    stateful: bool,
    as_json: bool,
) -> None:
    """Generate one text, print it as it grows, then its figures on stderr; or all as one line of JSON."""
    from hrm_core.inference.generating import Stateful, continue_tokens

    predictor = Stateful(backend, len(prompt)) if stateful else None
    began = time.perf_counter()
    first = began
    parts: list[str] = []
    tokens: list[int] = []
    logs: list[float] = []
    is_stopped = False
    for found in continue_tokens(backend, task, prompt, max_tokens, sampling, predictor):
        if not tokens:
            first = time.perf_counter()
        tokens.append(found.token)
        logs.append(found.log_probability)
        parts.append(found.text)
        is_stopped = found.is_last
        if not as_json:
            click.echo(found.text, nl=False)
            sys.stdout.flush()
    ended = time.perf_counter()
    later = len(tokens) - 1
    figures = {
        "prompt_tokens": len(prompt),
        "generated_tokens": len(tokens),
        "prompt_seconds": round(first - began, 4),
        "tokens_per_second": round(later / (ended - first), 1) if later else None,
        "peak_memory_gib": round(backend.peak_memory() / 2**30, 3),
        "finish": "stop" if is_stopped else "length",
        "mode": "stateful, an experiment" if stateful else "stateless",
    }
    if as_json:
        record = {"prompt": text, "text": "".join(parts), "tokens": tokens}
        rounded = [round(value, 5) for value in logs]
        click.echo(json.dumps({**record, "log_probabilities": rounded, **figures}))
        return
    click.echo()
    click.echo(_described(figures), err=True)


def _described(figures: dict[str, Any]) -> str:
    speed = figures["tokens_per_second"]
    parts = [
        f"prompt: {figures['prompt_tokens']:,} tokens in {figures['prompt_seconds']:.3f} s",
        f"generated: {figures['generated_tokens']:,} tokens"
        + (f", {speed:,.1f} tokens/s" if speed else ""),
        f"peak memory: {figures['peak_memory_gib']:.3f} GiB",
        figures["mode"],
    ]
    return "; ".join(parts)


def _print_top(
    backend: "Backend",
    task: "Generative",
    text: str,
    prompt: "TokenArray",
    count: int,
    as_json: bool,
) -> None:
    """Print the most likely next tokens of one prompt with their probabilities."""
    import numpy as np

    from hrm_core.inference.generating import next_tokens

    top = next_tokens(backend, task, prompt, count)
    rows = []
    for token, log in zip(top.tokens[0].tolist(), top.log_probabilities[0].tolist(), strict=True):
        is_stop = token == task.stop_token
        shown = (
            "end of text"
            if is_stop
            else json.dumps(task.decode(np.array([token])), ensure_ascii=False)
        )
        rows.append((token, shown, float(np.exp(log))))
    if as_json:
        found = [
            {"token": token, "text": task.decode(np.array([token])), "probability": round(share, 6)}
            for token, _, share in rows
        ]
        click.echo(json.dumps({"prompt": text, "top": found}, ensure_ascii=False))
        return
    table = [[str(token), shown, f"{share:.2%}"] for token, shown, share in rows]
    print_table(
        f"After {json.dumps(text, ensure_ascii=False)}", ["token", "text", "probability"], table
    )
