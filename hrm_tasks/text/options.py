"""Options of `hrm data text`."""

from pathlib import Path
from typing import Annotated, Any, ClassVar

from pydantic import Field, model_validator

from hrm_core.tasks import building
from hrm_core.tasks.building import Argument, Count, Flag, Seed


class Options(building.Options):
    """Texts, the part that is not trained on, the tokens and the length of windows."""

    things: ClassVar[str] = "windows"

    sources: Annotated[tuple[Path, ...], Field(min_length=1), Argument("FILE...")]
    test: Annotated[
        tuple[Path, ...],
        Flag(
            "Test text, a file or a folder, may be repeated; without it a share is taken.",
            metavar="FILE",
        ),
    ] = ()
    test_share: Annotated[
        float,
        Field(gt=0, lt=1),
        Flag(
            "Share of the text that is not trained on: the end of one document, or whole "
            "documents of several. [default: 0.1]",
            metavar="SHARE",
        ),
    ] = 0.1
    tokenizer: Annotated[
        str,
        Flag(
            'Folder with vocab.json and merges.txt, a tokenizer.json, or "chars".',
            metavar="DIR|FILE|chars",
            show_default=True,
        ),
    ] = "chars"
    train_bpe: Annotated[
        int | None,
        Field(ge=262, le=2**20),
        Flag("Learn N byte-pair tokens from the training text instead.", metavar="N"),
    ] = None
    seq_len: Annotated[
        Count, Field(ge=2, le=2**14), Flag("Tokens of a window.", metavar="N", show_default=True)
    ] = 128
    seed: Seed = 0

    @model_validator(mode="before")
    @classmethod
    def _no_clash(cls, given: dict[str, Any]) -> dict[str, Any]:
        if {"test", "test_share"} <= given.keys():
            raise ValueError("give either --test or --test-share")
        if {"tokenizer", "train_bpe"} <= given.keys():
            raise ValueError("give either --tokenizer or --train-bpe")
        if given.get("sources") == ():
            raise ValueError("name a text to learn from, e.g. book.txt")
        return given
