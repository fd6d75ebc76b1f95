"""Optional capabilities of a task: each is a Protocol that commands ask for.

A task has a capability if it has its members; a command that needs one the task lacks says so in
one line.

Shapes: N puzzles, K forms of one question, A ACT steps, S = `seq_len` cells, V tokens.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, Protocol, Self, runtime_checkable

import numpy as np
import numpy.typing as npt
from PIL import Image

from hrm_core.data.store import Dataset, Split
from hrm_core.data.symmetry import Symmetry
from hrm_core.pictures.grids import Mark, Swatch
from hrm_core.tasks.contract import BoolArray, IntArray, TokenArray
from hrm_core.tasks.predictions import Predictions

FloatArray = npt.NDArray[np.floating]
NO_RATINGS = (0,)  # one band for everything
ONLY_THE_SOLUTION = "only the solution can tell"


@runtime_checkable
class Readable(Protocol):
    """Reads questions as people write them and writes answers: `hrm solve`."""

    def parse(self, text: str) -> TokenArray:
        """Read every puzzle in a text. Returns: (N, S) question tokens.

        Raises: PuzzleError naming the puzzle and the place in it.
        """
        ...

    def read_file(self, path: Path) -> TokenArray:
        """Read every puzzle in a file: a text, or another format of the task. Returns: (N, S).

        Raises: PuzzleError, OSError, UnicodeDecodeError.
        """
        ...

    def format(self, tokens: TokenArray) -> str:
        """Draw one grid (S,) as text for a terminal."""
        ...

    def line(self, tokens: TokenArray) -> str:
        """Write one grid (S,) as one word, which `parse` reads back."""
        ...


@runtime_checkable
class Judged(Protocol):
    """Has rules that tell a right answer without a solution."""

    def given(self, inputs: TokenArray) -> BoolArray:
        """Mark the cells that the question already answers. Shapes: (..., S) -> (..., S)."""
        ...

    def accepts(self, inputs: TokenArray, answer: TokenArray) -> bool:
        """Return True if the rules accept this answer (S,) to this question (S,)."""
        ...

    def accepts_all(self, inputs: IntArray, answers: IntArray) -> BoolArray:
        """Judge many answers at once. Shapes: (N, S), (N, S) -> (N,)."""
        ...

    def verdict(self, inputs: TokenArray, answer: TokenArray) -> str:
        """Describe in one line how the rules judge this answer (S,) to this question (S,)."""
        ...


@runtime_checkable
class Checked(Judged, Protocol):
    """Has rules that tell which cells of an answer break them."""

    def conflicts(self, inputs: IntArray, answers: IntArray) -> BoolArray:
        """Mark the cells of answers that break a rule or change a given cell.

        Shapes: (N, S), (N, S) -> (N, S).
        """
        ...


@runtime_checkable
class Examined(Protocol):
    """Tells what is wrong with a question itself: beside every verdict of `hrm solve`."""

    def flaw(self, inputs: TokenArray) -> str:
        """Say in one line what is wrong with a question (S,), such as that it has no solution.

        Returns: "" if nothing is, or if that takes long to find out.
        """
        ...


@runtime_checkable
class Hinted(Protocol):
    """Has blank cells that can be filled in from the answer: `train.hints`.

    Not every task that is judged has them: the path of a maze is no token of a question.
    """

    def blanks(self, inputs: IntArray) -> BoolArray:
        """Mark the cells that the question leaves blank. Shapes: (N, S) -> (N, S)."""
        ...


@runtime_checkable
class Symmetric(Protocol):
    """Has symmetries that map puzzles to puzzles: votes."""

    vocab_size: int
    seq_len: int

    def draw_symmetries(self, rng: np.random.Generator, count: int) -> Symmetry:
        """Draw `count` symmetries at random. Raises: PuzzleError if this data has none."""
        ...


@runtime_checkable
class PartlySymmetric(Symmetric, Protocol):
    """Has symmetries that only some questions have."""

    def check_symmetric(self, inputs: TokenArray) -> None:
        """Refuse questions (..., S) of which one has no symmetries. Raises: PuzzleError."""
        ...


@runtime_checkable
class Drawable(Protocol):
    """Draws its grids."""

    name: str
    legend: Sequence[Mark]  # marks that the legend of an animation explains

    def picture(self, tokens: TokenArray, marks: IntArray, cell: int = 48) -> Image.Image:
        """Draw one grid (S,) with a `Mark` for each cell (S,), `cell` pixels a cell."""
        ...


class Shown(NamedTuple):
    """One example on a sheet."""

    picture: Image.Image
    caption: str  # a few lines


@runtime_checkable
class Captioned(Protocol):
    """Shows its examples as pictures with captions: sheets of pictures that are no grids."""

    name: str
    things: str
    note: str  # every sheet carries it

    def show(
        self, data: Dataset, split: Split, rows: IntArray, predictions: Predictions | None = None
    ) -> list[Shown]:
        """Show examples (N,) of a split, with what a model says of them if predictions are given.

        `predictions` are in file order, of the first examples at least.
        """
        ...

    def ranked(
        self, data: Dataset, split: Split, predictions: Predictions
    ) -> tuple[IntArray, IntArray]:
        """Return the examples with a wrong answer, the most confident first, and the others.

        Copies are left out.
        """
        ...


@runtime_checkable
class Coloured(Drawable, Protocol):
    """Draws cells whose colours a page has to explain."""

    @property
    def swatches(self) -> Sequence[Swatch]:
        """Return the colours that pictures of an answer have beside those of marks."""
        ...


@runtime_checkable
class Numbered(Drawable, Protocol):
    """Draws colours that have numbers: `--digits`."""

    def with_digits(self) -> Self:
        """Return the same task whose pictures also show the number of each colour."""
        ...


@runtime_checkable
class Rated(Protocol):
    """Has ratings of how hard a puzzle is."""

    rating_bands: Sequence[int]  # lower bound of each band of a table, ascending from 0


@runtime_checkable
class Variable(Protocol):
    """Has settings that describe a data set, not the task: two data sets may differ in them."""

    data_settings: Sequence[str]


@runtime_checkable
class Viewed(Protocol):
    """Looks at its data in a way that a model must share, such as the size of patches."""

    @property
    def model_settings(self) -> Mapping[str, Any]:
        """Return settings of a model; a config that states one must state the same."""
        ...


class Question(NamedTuple):
    """A question, and what its file holds besides."""

    tokens: TokenArray  # (S,)
    name: str = ""  # of its puzzle
    solution: TokenArray | None = None  # (S,) if the file has it, encoded like `Candidate.answer`
    prefix_len: int = 0  # first tokens that every position sees, where attention is prefix
    image: npt.NDArray[np.uint8] | None = None  # (H, W) or (C, H, W), where the model has patches


@runtime_checkable
class Named(Protocol):
    """Knows its puzzles by name; a model has puzzle identifiers for each of them."""

    def questions(self, text: str, name: str) -> list[Question]:
        """Read every question in a text; `name` is that of its file.

        Raises: PuzzleError naming the question and the place in it.
        """
        ...

    def puzzle_of(self, identifier: str) -> str:
        """Return the puzzle that the name of an identifier belongs to."""
        ...

    def identifiers_of(self, names: Sequence[str], puzzle: str) -> IntArray:
        """Return the identifiers of a puzzle, its own first; empty if it was never trained."""
        ...

    def how_to_add(self, puzzle: str) -> str:
        """Return the command that adds a puzzle to a data set; DATA stands for the data set."""
        ...


@runtime_checkable
class Accompanied(Named, Protocol):
    """Reads the questions of a file together with what lies beside it."""

    def questions_in(self, path: Path) -> list[Question]:
        """Read every question in a file, with solutions from a file beside it.

        Raises: PuzzleError naming the question, OSError, UnicodeDecodeError.
        """
        ...


@dataclass(frozen=True, eq=False)
class Asked:
    """One question in K forms."""

    inputs: TokenArray  # (K, S)
    undo: Callable[[int, TokenArray], TokenArray]  # maps answers (A, S) to form k back


@dataclass(frozen=True, eq=False)
class Candidate:
    """One of the distinct answers to a question."""

    answer: TokenArray  # (S,)
    count: int  # how many of the K answers are this one
    confidence: float  # their mean sigmoid(q_halt)
    row: int  # the one of highest q_halt among them, in [0, K)


class Table(NamedTuple):
    """A table of results."""

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]


class Report(Protocol):
    """Results of a task that its metrics do not hold."""

    def record(self) -> Mapping[str, Any]:
        """Return the results as JSON-serialisable values."""
        ...

    def pages(self) -> Sequence[str | Table]:
        """Return the results as text and tables for a person, in order."""
        ...


Poll = Report  # pooled answers to all questions of a test


@runtime_checkable
class Compared(Protocol):
    """Has baselines that stand beside a model: `hrm eval`."""

    def compare(self, data: Dataset, split: Split, predictions: Predictions) -> Report:
        """Compare predictions with what simpler models make of the same examples.

        `predictions` are in file order; of each set they may hold the first examples only.
        """
        ...


@runtime_checkable
class Charted(Compared, Protocol):
    """Draws what it compared: `hrm eval --chart`."""

    def draw(self, comparison: Any, out: Path) -> None:
        """Draw what `compare` returned into a PNG. Raises: HRMError, BackendError without matplotlib."""
        ...


@runtime_checkable
class Tabled(Protocol):
    """Writes its predictions as a table, a row an example: `--save-predictions FILE.csv`."""

    def prediction_table(self, data: Dataset, split: Split, predictions: Predictions) -> Table:
        """Return predictions, in file order, as a table; its title is not written."""
        ...


@runtime_checkable
class Outcomes(Protocol):
    """Asks which of K outcomes each of some places has: `hrm predict`."""

    seq_len: int
    outcomes: Sequence[str]  # names of the outcomes, (K,)
    outcome_tokens: Sequence[int]  # their tokens, (K,)
    outcome_positions: Sequence[int]  # places in a chunk of S tokens, (P,)


class Ask(Protocol):
    """Asks a model for the probabilities of the outcomes of its task.

    Shapes: N examples of C chunks of S tokens, B sequences that grow together, K outcomes,
    Q = C P places of an outcome.
    """

    def probabilities(
        self,
        inputs: IntArray,
        prefix_len: IntArray | None = None,
        images: npt.NDArray[np.uint8] | None = None,
    ) -> FloatArray:
        """Answer whole examples. Shapes: (N, C S), (N,), (N, ...) -> (N, Q, K)."""
        ...

    def begin(self, count: int, prefix_len: int, after: Any = None) -> Any:
        """Return a state of `count` chunks without a token; `after` is that of the chunks before."""
        ...

    def extend(self, state: Any, tokens: IntArray) -> tuple[Any, FloatArray]:
        """Add tokens (B, n). Returns: the new state, and probabilities (B, n, K) at each of them."""
        ...

    def take(self, state: Any, rows: IntArray) -> Any:
        """Return the state of some sequences, each as often as it is named."""
        ...


class Continuation(Protocol):
    """The text of one prompt while it grows: gives out whole characters."""

    def add(self, token: int) -> str:
        """Return the text that a token completes; "" within a character."""
        ...


@runtime_checkable
class Generative(Protocol):
    """Continues sequences of tokens: `hrm generate`."""

    stop_token: int | None  # ends a text; None if texts go on
    banned_tokens: Sequence[int]  # that no text has: padding

    def encode(self, text: str) -> TokenArray:
        """Return the tokens (n,) of a prompt, with those that begin a text.

        Raises: PuzzleError naming the character that has no token.
        """
        ...

    def decode(self, tokens: TokenArray) -> str:
        """Return the text of some tokens (n,)."""
        ...

    def continuation(self) -> Continuation:
        """Return an empty text behind a prompt."""
        ...


@runtime_checkable
class Equipped(Protocol):
    """Needs files beside its settings: they go with data set, run and model file."""

    file_names: Sequence[str]

    def with_files(self, files: Mapping[str, str]) -> Self:
        """Return the same task with the contents of its files, by name.

        Raises: DataError if one is missing or damaged.
        """
        ...


@runtime_checkable
class Spelled(Protocol):
    """Has tokens that stand for text: `hrm convert` finds them again in another vocabulary."""

    @property
    def token_texts(self) -> Sequence[str]:
        """Return the text of each token, (V,); "" where it has none: padding, blanks, borders."""
        ...


class Polling(Protocol):
    """Asks one question in K forms, pools the answers and chooses.

    The default is `BySymmetries` of `hrm_core/inference/voting.py`; a `Polled` task overrides it.
    """

    @property
    def votes(self) -> int:
        """K if the user does not say."""
        ...

    def ask(self, question: TokenArray, names: Sequence[str]) -> Asked:
        """Return a question (S,) in K forms, each for the identifier of a name."""
        ...

    def attempts(
        self, question: TokenArray, answers: TokenArray, q_halt_logits: FloatArray
    ) -> list[Candidate]:
        """Pool K answers, undone, and return the best few, the best first.

        Shapes: (S,), (K, S), (K,).
        """
        ...


@runtime_checkable
class Polled(Named, Polling, Protocol):
    """Asks one question under several identifiers and pools the answers."""

    def poll(
        self, split: Split, names: Sequence[str], answered: Sequence[tuple[IntArray, FloatArray]]
    ) -> Poll:
        """Pool the answers to a whole test split.

        `names` are those of the identifiers; `answered` holds answers (N, S) and q_halt logits (N,)
        to all examples in file order, one pair for each time they were asked.

        Raises: DataError if an identifier has no name.
        """
        ...


class Score(NamedTuple):
    """Score of a submission."""

    score: float
    record: Mapping[str, Any]  # JSON-serialisable
    text: str  # for a person


@runtime_checkable
class Exports(Protocol):
    """Writes its answers to a test in a file format of others: `--submission`, `hrm score`."""

    def submission(self, poll: Any) -> object:
        """Return the answers of a poll as the JSON of a submission."""
        ...

    @staticmethod
    def score(submission: Path, solutions: Path) -> Score:
        """Score a submission against solutions.

        Raises: DataError naming the file and the place in it.
        """
        ...


def given_cells(task: object, inputs: TokenArray) -> BoolArray:
    """Mark the cells that a question already answers; none if the task has no rules."""
    if isinstance(task, Judged):
        return task.given(inputs)
    return np.zeros(inputs.shape, bool)


def continues_texts(task: object) -> bool:
    """Return True if the class of a task is `Generative`: its tokenizer need not be at hand."""
    return hasattr(type(task), "continuation")


def bands_of(task: object) -> Sequence[int]:
    """Return the bands of ratings that split the tables of a task."""
    return task.rating_bands if isinstance(task, Rated) else NO_RATINGS


def swatches_of(task: object) -> Sequence[Swatch]:
    """Return the colours that pages of a task explain beside those of marks."""
    return task.swatches if isinstance(task, Coloured) else ()
