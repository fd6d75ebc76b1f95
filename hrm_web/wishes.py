"""What a request may ask for, checked key by key."""

from typing import Annotated, Any

from pydantic import Field

from hrm_core.config import MAX_SEED, Settings, validated
from hrm_core.data.sources import read_json
from hrm_core.errors import PuzzleError
from hrm_core.inference.generating import Sampling
from hrm_core.inference.slots import Halt

MAX_STEPS = 256  # ACT steps of one request
MAX_FORMS = 256  # puzzles of one request, each as often as it is asked
MAX_TOKENS = 1000
SOURCE = "the request"

Share = Annotated[float, Field(ge=0, le=1, strict=False)]


class Wish(Settings):
    """Puzzles to solve: the options of `hrm solve`."""

    puzzles: str
    name: str = ""  # of the file that they came from; an ARC task is asked under it
    halt: Halt | None = None
    steps: Annotated[int, Field(ge=1, le=MAX_STEPS)] | None = None
    votes: Annotated[int, Field(ge=1, le=MAX_FORMS)] | None = None
    identifier: str = ""
    solution: str = ""  # of the one puzzle, where it is known: it judges the attempts
    only: Annotated[int, Field(ge=0)] | None = None  # place of the one puzzle that is asked


class TextWish(Settings):
    """A text to go on from: the options of `hrm generate`."""

    prompt: str
    max_tokens: Annotated[int, Field(ge=1, le=MAX_TOKENS)] = 100
    temp: Annotated[float, Field(ge=0, le=100, strict=False)] = 0.0
    top_p: Share = 1.0
    min_p: Share = 0.0
    top_k: Annotated[int, Field(ge=0)] = 0
    seed: Annotated[int, Field(ge=0, le=MAX_SEED)] = 0

    @property
    def sampling(self) -> Sampling:
        """Return how the next token is chosen. Raises: ConfigError."""
        return Sampling(self.temp, self.top_p, self.min_p, self.top_k, self.seed)


def wish_of(body: bytes) -> Wish:
    """Read a wish for solutions. Raises: HRMError."""
    return validated(Wish, _fields(body, '{"puzzles": "..."}'), SOURCE)


def text_wish_of(body: bytes) -> TextWish:
    """Read a wish for a text. Raises: HRMError."""
    return validated(TextWish, _fields(body, '{"prompt": "..."}'), SOURCE)


def _fields(body: bytes, expected: str) -> Any:
    fields = read_json(body, SOURCE, expected)
    if not isinstance(fields, dict):
        raise PuzzleError(f"{SOURCE} is no JSON object; expected {expected}")
    return fields
