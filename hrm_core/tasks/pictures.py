"""Tasks that ask which labels a picture has: their settings, tokens and places.

A chunk is `n` patches, then one answer slot a label with an ask token of its own; of labels that
exclude each other there is one slot. The last chunk alone has targets. Pictures lie beside the
tokens as uint8 and are cut into patches by the model; with `pixels` each pixel is a token instead.

Shapes: N pictures, C chunks, S = `seq_len` tokens of a chunk, F labels, Q answer slots, H, W pixels.
"""

from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, Self

import numpy as np
import numpy.typing as npt
from pydantic import Field, ValidationError, model_validator

from hrm_core.config import Settings
from hrm_core.data.store import Dataset, ExampleSet, Split
from hrm_core.errors import BackendError, DataError
from hrm_core.tasks import picture_baselines, picture_scores, picture_sheets
from hrm_core.tasks.capabilities import Shown, Table
from hrm_core.tasks.cells import share
from hrm_core.tasks.contract import IntArray, Metric, TokenArray
from hrm_core.tasks.picture_baselines import Features
from hrm_core.tasks.picture_comparison import LOGISTIC, NETWORK, Comparison, compare, draw
from hrm_core.tasks.picture_listing import Listing, listing, only_set
from hrm_core.tasks.picture_scores import Judgement, log_odds
from hrm_core.tasks.predictions import Predictions

PAD, IMAGE, ABSENT, PRESENT = range(4)  # tokens; 4 + f asks for label f
FIRST_ASK = 4
ASK, FIRST_LABEL = 2, 3  # of labels that exclude each other
GREY = 128  # first of the tokens of pixels: 7 bits of grey
PIXEL_VOCAB = 256
UNKNOWN = -1  # target of a label that is not known
MAX_LABELS = 100
BLOCK = 256  # pictures that are read at once
MAX_SIDE = 4096

AUROC = Metric("auroc", "area under the ROC curve", "AUROC", ".4f", needs="defined_labels")
PRECISION = Metric(
    "average_precision", "average precision", "avg. precision", ".4f", needs="defined_labels"
)
ACCURACY = Metric("accuracy", "accuracy", "accuracy")
ECE = Metric("ece", "expected calibration error", "ECE", ".4f", higher_is_better=False)

# strict=False: JSON has lists
Side = Annotated[int, Field(ge=2, le=MAX_SIDE)]
Sides = Annotated[tuple[Side, Side], Field(strict=False)]
Names = Annotated[tuple[str, ...], Field(strict=False, min_length=1, max_length=MAX_LABELS)]
SomeNames = Annotated[tuple[str, ...], Field(strict=False, max_length=MAX_LABELS)]
UintArray = npt.NDArray[np.uint8]


class PictureSettings(Settings):
    """What a model of pictures was built for; the label of its task holds all of it."""

    labels: Names
    exclusive: bool = False  # each picture has exactly one of the labels
    unlearned: SomeNames = ()  # labels that training shows in one class alone, or not at all
    size: Sides  # H, W
    patch: Annotated[int, Field(ge=1)]
    strips: Annotated[int, Field(ge=1)] = 1
    frames: Annotated[int, Field(ge=1)] = 1
    overview: bool = False  # the first chunk is the whole picture, at the size of a strip
    pixels: bool = False  # each pixel is a token; the published code trains on such data
    fit: Literal["crop", "stretch"] = "crop"  # how a picture of another shape is fitted

    @model_validator(mode="after")
    def _fits(self) -> Self:
        height, width = self.size
        if width % self.strips:
            raise ValueError(f"{self.strips} strips do not divide a width of {width} pixels")
        if not self.pixels and (height % self.patch or width // self.strips % self.patch):
            raise ValueError(
                f"patches of {self.patch} do not divide a strip of "
                f"{height}x{width // self.strips} pixels; they must divide both sides"
            )
        if self.frames > 1 and (self.strips > 1 or self.overview or self.pixels):
            raise ValueError("frames are whole chunks; leave out strips, overview and pixels")
        if self.overview and self.strips == 1:
            raise ValueError("an overview stands before strips; give at least 2 strips")
        if self.pixels and (self.strips > 1 or self.overview):
            raise ValueError("pixels as tokens have one chunk; leave out strips and overview")
        if self.exclusive and len(self.labels) < 2:
            raise ValueError(
                f"all pictures have the one label {self.labels[0]}; add pictures of another label, "
                "or say which have it in a column of 0 and 1"
            )
        return self

    @property
    def num_chunks(self) -> int:
        """Chunks of an example: frames, or strips and perhaps the overview before them."""
        return self.frames if self.frames > 1 else self.strips + self.overview

    @property
    def num_patches(self) -> int:
        """Positions of a chunk that show the picture."""
        height, width = self.size
        if self.pixels:
            return height * width
        return (height // self.patch) * (width // self.strips // self.patch)

    @property
    def num_slots(self) -> int:
        """Answer slots behind the patches."""
        return 1 if self.exclusive else len(self.labels)

    @property
    def seq_len(self) -> int:
        """Tokens of a chunk."""
        return self.num_patches + self.num_slots

    @property
    def vocab_size(self) -> int:
        """Tokens of the vocabulary."""
        if self.pixels:
            return PIXEL_VOCAB
        return (FIRST_LABEL if self.exclusive else FIRST_ASK) + len(self.labels)

    @property
    def image_shape(self) -> tuple[int, ...]:
        """Shape of the picture of an example: (H, W), or (C, H, W) with a frame a chunk."""
        return (self.frames, *self.size) if self.frames > 1 else self.size


class PictureTask:
    """Base of tasks of pictures. A subclass gives name, things, word and note."""

    name: ClassVar[str]
    things: ClassVar[str] = "images"
    headline: ClassVar[Metric] = AUROC
    metrics: ClassVar[tuple[Metric, ...]] = (PRECISION, ACCURACY, ECE)
    word: ClassVar[str] = "label"  # for one of the labels
    note: ClassVar[str] = ""  # every output carries it
    data_settings: ClassVar[Sequence[str]] = ("unlearned",)

    def __init__(self, settings: PictureSettings) -> None:
        self.preparation = settings
        self.vocab_size, self.seq_len = settings.vocab_size, settings.seq_len
        self.num_chunks = settings.num_chunks
        self.settings: Mapping[str, Any] = settings.model_dump(mode="json")

    @classmethod
    def for_shape(cls, vocab_size: int, seq_len: int, settings: Mapping[str, Any]) -> Self | None:
        """Return the task with these settings; None if they are incomplete or not of this shape."""
        try:
            known = PictureSettings.model_validate(settings)
        except ValidationError:
            return None
        task = cls(known)
        return task if (task.vocab_size, task.seq_len) == (vocab_size, seq_len) else None

    @property
    def labels(self) -> Sequence[str]:
        """Names of the labels, (F,)."""
        return self.preparation.labels

    @property
    def learned(self) -> IntArray:
        """Places of the labels that a model can have learned: the chances of others mean nothing."""
        unlearned = self.preparation.unlearned
        places: IntArray = np.flatnonzero([label not in unlearned for label in self.labels])
        return places

    @property
    def model_settings(self) -> Mapping[str, Any]:
        """Settings of a model that follow from the data; see `capabilities.Viewed`."""
        prepared = self.preparation
        if prepared.pixels:
            return {}
        seen = {"patch_size": prepared.patch}
        return {**seen, "first_chunk": "overview"} if prepared.overview else seen

    @property
    def outcomes(self) -> Sequence[str]:
        """Names of the outcomes of an answer slot, (K,)."""
        return self.labels if self.preparation.exclusive else ("absent", "present")

    @property
    def outcome_tokens(self) -> Sequence[int]:
        """Their tokens, (K,)."""
        if self.preparation.exclusive:
            return range(FIRST_LABEL, FIRST_LABEL + len(self.labels))
        return (ABSENT, PRESENT)

    @property
    def outcome_positions(self) -> Sequence[int]:
        """Places of the answer slots in a chunk, (Q,)."""
        return range(self.preparation.num_patches, self.seq_len)

    @cached_property
    def _asks(self) -> IntArray:
        """Ask tokens (Q,) behind the patches."""
        if self.preparation.exclusive:
            return np.array([ASK])
        return FIRST_ASK + np.arange(len(self.labels))

    def questions(self, images: UintArray) -> tuple[TokenArray, UintArray | None]:
        """Return the tokens (N, C S) that ask for the labels of pictures (N, ...), and what the
        model looks at besides: the pictures, or None where their pixels are tokens.
        """
        count, prepared = len(images), self.preparation
        shown: IntArray = np.full((count, prepared.num_patches), IMAGE)
        if prepared.pixels:
            shown = GREY + (images.reshape(count, -1).astype(np.int64) >> 1)
        asks = np.broadcast_to(self._asks, (count, prepared.num_slots))
        chunk = np.concatenate([shown, asks], axis=1)
        tokens = np.tile(chunk, (1, prepared.num_chunks)).astype(np.uint8)
        return tokens, None if prepared.pixels else images

    def answers(self, targets: IntArray) -> TokenArray:
        """Return the label tokens (N, C S) of targets (N, F) in {0, 1, UNKNOWN}.

        They stand in the slots of the last chunk alone. Of labels that exclude each other exactly
        one is 1.
        """
        tokens = np.zeros((len(targets), self.num_chunks, self.seq_len), np.uint8)
        slots = np.array([PAD, ABSENT, PRESENT])[targets + 1]
        if self.preparation.exclusive:
            slots = FIRST_LABEL + targets.argmax(axis=1, keepdims=True)
        tokens[:, -1, self.preparation.num_patches :] = slots
        return tokens.reshape(len(targets), -1)

    def targets(self, tokens: TokenArray) -> IntArray:
        """Return the targets (N, F) that label tokens (N, C S) were made of; undo `answers`."""
        slots = tokens[:, -self.preparation.num_slots :].astype(np.int64)
        if self.preparation.exclusive:
            is_label: IntArray = slots == np.arange(FIRST_LABEL, self.vocab_size)
            return np.where(slots < FIRST_LABEL, UNKNOWN, is_label)
        return np.where(slots < ABSENT, UNKNOWN, slots - ABSENT)

    def pictures(self, examples: ExampleSet, rows: IntArray) -> UintArray:
        """Read the pictures (N, ...) of some examples; of pixels as tokens with 7 bits of grey."""
        if examples.images is not None:
            return np.asarray(examples.images[rows])
        tokens = np.asarray(examples.inputs[rows])[:, : self.preparation.num_patches]
        pixels: UintArray = ((tokens.astype(np.int64) - GREY) << 1).clip(0, 255).astype(np.uint8)
        return pixels.reshape(-1, *self.preparation.size)

    def judgement(self, probabilities: npt.NDArray[np.floating], targets: IntArray) -> Judgement:
        """Read the last chunk of predictions (N, C Q, K) and targets (N, C Q), -1 not known."""
        num_slots, exclusive = self.preparation.num_slots, self.preparation.exclusive
        last = probabilities[:, -num_slots:].astype(np.float64)
        named = targets[:, -num_slots:]
        if not exclusive:
            return Judgement(last[:, :, 1], named, log_odds(last[:, :, 1], last[:, :, 0]), False)
        chances = last[:, 0]
        others = chances @ (1 - np.eye(len(self.labels)))  # not 1 - p, which rounds to 0
        is_label = named == np.arange(len(self.labels))
        truth = np.where(named < 0, UNKNOWN, is_label)
        return Judgement(chances, truth, log_odds(chances, others), True)

    def judged(self, predictions: Predictions) -> Judgement:
        """Read what a model says of the pictures of an evaluation."""
        if predictions.probabilities is None or predictions.targets is None:  # of no picture
            num_slots, num_outcomes = self.preparation.num_slots, len(self.outcomes)
            nothing = np.zeros((0, num_slots, num_outcomes)), np.zeros((0, num_slots), np.int64)
            return self.judgement(*nothing)
        return self.judgement(predictions.probabilities, predictions.targets)

    def measure(self, predictions: Predictions) -> dict[str, float]:
        """Compute all numbers of a report; `count` is that of pictures with a known label."""
        counted = predictions.is_counted
        return {
            **picture_scores.measure(self.judged(predictions)),
            "lm_loss": share(predictions.lm_loss[counted].sum(), counted.sum()),
            "steps": share(predictions.steps.sum(), len(predictions)),
            "count": int(counted.sum()),
        }

    def compare(self, data: Dataset, split: Split, predictions: Predictions) -> Comparison:
        """Put logistic regression on pixels beside the network, on the first copy of each picture.

        Raises: DataError if the list of pictures does not fit the examples.
        """
        listed = listing(data, split).first(len(predictions))
        judged = self.judged(predictions).select(listed.rows)
        judgements, notes = {NETWORK: judged}, []
        try:
            judgements[LOGISTIC] = self._logistic(data, split, listed, judged)
        except (BackendError, DataError) as error:
            notes.append(f"Logistic regression is left out: {error}.")
        things, unit = f"{len(listed.rows):,} {self.things}", "image"
        if listed.knows_patients:
            things += f" of {len(np.unique(listed.patients)):,} patients"
            unit = "patient"
        of_what = self.labels, self.word, things, unit
        return compare(*of_what, listed.patients, judgements, notes, self.note)

    def draw(self, comparison: Comparison, out: Path) -> None:
        """Draw ROC curves, and how often a label was there of how often it was predicted.

        Raises: HRMError, BackendError without matplotlib.
        """
        draw(comparison, out)

    def prediction_table(self, data: Dataset, split: Split, predictions: Predictions) -> Table:
        """Return file, patient, then chance and truth of each label; copies are left out.

        Raises: DataError if the list of pictures does not fit the examples.
        """
        listed = listing(data, split).first(len(predictions))
        judged = self.judged(predictions).select(listed.rows)
        columns = ["file", "patient"]
        for label in self.labels:
            columns += [label, f"{label} true"]
        rows = []
        for number, file in enumerate(listed.files):
            row = [file, listed.names[listed.patients[number]]]
            for chance, truth in zip(judged.chances[number], judged.truth[number], strict=True):
                row += [f"{chance:.9g}", "" if truth < 0 else str(truth)]
            rows.append(row)
        return Table(self.things, columns, rows)

    def show(
        self, data: Dataset, split: Split, rows: IntArray, predictions: Predictions | None = None
    ) -> list[Shown]:
        """Show pictures with what is true, and with what a model says if predictions are given.

        Raises: DataError if the list of pictures does not fit the examples.
        """
        examples = only_set(split)
        judged = self.judged(predictions).select(rows) if predictions is not None else None
        return picture_sheets.shown(
            self.pictures(examples, rows),
            picture_sheets.names_of(listing(data, split), rows),
            self.labels,
            self.targets(np.asarray(examples.labels[rows])),
            judged,
            self.learned,
        )

    def ranked(
        self, data: Dataset, split: Split, predictions: Predictions
    ) -> tuple[IntArray, IntArray]:
        """Return the pictures with a wrong answer, the most confident first, and the others."""
        rows = listing(data, split).first(len(predictions)).rows
        confidence = picture_sheets.mistakes(self.judged(predictions).select(rows))
        order = np.argsort(-confidence, kind="stable")
        return rows[order[confidence[order] > 0]], rows[confidence == 0]

    def _logistic(
        self, data: Dataset, split: Split, listed: Listing, judged: Judgement
    ) -> Judgement:
        """Fit logistic regression to training pictures and judge those that are listed.

        Raises: DataError without a train split, BackendError without scikit-learn.
        """
        train = data.split("train")
        examples = only_set(train)
        rows = picture_baselines.training_rows(listing(data, train).rows)
        return picture_baselines.logistic(
            np.concatenate(list(self._features(examples, rows))),
            self.targets(np.asarray(examples.labels[rows])),
            self._features(only_set(split), listed.rows),
            judged,
        )

    def _features(self, examples: ExampleSet, rows: IntArray) -> Iterator[Features]:
        """Read what logistic regression sees of some examples, a few hundred at a time."""
        for start in range(0, len(rows), BLOCK):
            yield picture_baselines.features(self.pictures(examples, rows[start : start + BLOCK]))
