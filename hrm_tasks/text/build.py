"""Build data sets of text: read, split, encode, cut into windows, and measure n-grams beside.

Shapes: N documents, S `seq_len`, V tokens.
"""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from hrm_core.data import ngrams
from hrm_core.data.events import count_cut, prompt_windows, windows
from hrm_core.data.writer import Examples, Layout, refuse_used, write_dataset
from hrm_core.draws import Purpose, stream
from hrm_core.errors import DataError, PuzzleError
from hrm_core.messages import first_few
from hrm_core.tasks.building import Built, Watch, unwatched
from hrm_core.tasks.capabilities import FloatArray
from hrm_core.tasks.contract import TokenArray
from hrm_tasks.text.options import Options
from hrm_tasks.text.overlap import share_in_training
from hrm_tasks.text.read import Document, Source, read_sources
from hrm_tasks.text.task import BASELINE, Text
from hrm_tasks.text.tokenizer import (
    END,
    FILE,
    BytePairs,
    Characters,
    read_tokenizer,
    train_tokenizer,
)

SET = "all"
CHARS = "chars"
SPLIT = 0  # index of the random stream
ORDER = 5  # of the n-grams
NGRAM_TOKENS = 10_000_000  # of training that they are counted in at most: some 2 GiB
SHARED = 0.5  # a test document with a larger share of text that is trained on is named


class Encoded(NamedTuple):
    """Tokens of one document."""

    tokens: TokenArray  # (n,) with those that begin and end it
    num_prompt: int  # first tokens that are given, not predicted
    place: str


@dataclass(frozen=True)
class Part:
    """Documents of one split."""

    documents: list[Encoded]
    too_short: int  # documents that were skipped: shorter than two tokens

    @property
    def tokens(self) -> list[TokenArray]:
        """Return the tokens of each document."""
        return [document.tokens for document in self.documents]

    @property
    def has_prompts(self) -> bool:
        """Return True if the first tokens of each document are given."""
        return any(document.num_prompt for document in self.documents)

    @property
    def pairs(self) -> list[tuple[TokenArray, TokenArray]]:
        """Return the tokens of each prompt and its response."""
        return [
            (each.tokens[: each.num_prompt], each.tokens[each.num_prompt :])
            for each in self.documents
        ]


class Windows:
    """Windows of one split in blocks, cut anew each time: those of a long text take more room than it."""

    def __init__(self, part: Part, seq_len: int, pad: int, is_test: bool) -> None:
        """Raises: DataError if no response fits behind its prompt."""
        self._part, self._seq_len, self._pad, self._is_test = part, seq_len, pad, is_test
        self.count = 0  # windows that were cut the last time
        if part.has_prompts and count_cut(part.pairs, seq_len).left_out == len(part.documents):
            raise DataError(
                f"{part.documents[0].place}: no response fits behind its prompt into {seq_len} "
                "tokens; give a larger --seq-len"
            )

    def __iter__(self) -> Iterator[Examples]:
        self.count = 0
        for block in self._blocks():
            self.count += len(block.inputs)
            yield block

    def _blocks(self) -> Iterator[Examples]:
        part, seq_len, pad = self._part, self._seq_len, self._pad
        if part.has_prompts:
            return prompt_windows(part.pairs, seq_len, pad, pad)
        return windows(part.tokens, seq_len, pad, pad, self._is_test)


class Scored(NamedTuple):
    """Counts of what a test scores."""

    tokens: int
    bytes: int  # of UTF-8


def build(out: Path, options: Options, watch: Watch = unwatched) -> Built:
    """Build a data set of text: files, folders, JSON Lines with "text", or with "prompt" and "response".

    \b
    Examples:
        hrm data text data/shakespeare train.txt --test test.txt
        hrm data text data/books books/ --train-bpe 4096 --seq-len 127
        hrm data text data/chat chat.jsonl --tokenizer roberta/
    """
    refuse_used(out)
    watch("reading")
    train_source = read_sources(options.sources)
    if options.test:
        test_source = read_sources(options.test)
    else:
        train_source, test_source = _parted(train_source, options.test_share, options.seed)
    if test_source.has_prompts != train_source.has_prompts:
        raise DataError(
            f"{test_source.documents[0].place} and {train_source.documents[0].place} do not go "
            "together: one is a text, one a prompt with a response"
        )
    watch("encoding")
    tokenizer = _tokenizer(options, train_source)
    parts = {
        "train": _encoded(train_source, tokenizer),
        "test": _encoded(test_source, tokenizer),
    }
    splits = {
        name: Windows(part, options.seq_len, tokenizer.pad, is_test=name == "test")
        for name, part in parts.items()
    }
    scored = _scored(splits["test"], tokenizer)
    task = _task(tokenizer, options.seq_len, scored.bytes / scored.tokens)
    watch("n-grams")
    fitted = _first_tokens(parts["train"], NGRAM_TOKENS)
    losses = _ngram_losses(fitted, parts["test"], tokenizer, options.seq_len)
    about = {
        "task": task.name,
        "task_settings": dict(task.settings),
        "seed": options.seed,
        "test_share": None if options.test else options.test_share,
        "tokenizer": CHARS if isinstance(tokenizer, Characters) else _name_of(options),
        "sources": {
            "train": train_source.files,
            "test": test_source.files if options.test else None,
        },
        "documents": {name: len(part.documents) for name, part in parts.items()},
        "tokens": {name: int(sum(map(len, part.tokens))) for name, part in parts.items()},
        "scored_tokens": scored.tokens,
        "baselines": {BASELINE: float(losses.mean())},
        "baseline_tokens": sum(map(len, fitted)),  # of training, that the n-grams were counted in
        **_remarkable(train_source, test_source, parts, options.seq_len),
    }
    layout = Layout(
        tokenizer.vocab_size, options.seq_len, pad_id=tokenizer.pad, ignore_label_id=tokenizer.pad
    )
    watch("writing")
    files = {FILE: tokenizer.to_text()} if isinstance(tokenizer, BytePairs) else {}
    sets = {name: {SET: blocks} for name, blocks in splits.items()}
    record = write_dataset(out, layout, sets, about, files)
    sizes = {name: blocks.count for name, blocks in splits.items()}
    return Built(_short(record), _summary(record, task, sizes), tuple(_warnings(record)))


def _parted(source: Source, share: float, seed: int) -> tuple[Source, Source]:
    """Take the test from the documents: the end of one, or a share of several, drawn at random."""
    documents = source.documents
    if len(documents) == 1 and not source.has_prompts:
        (whole,) = documents
        place = round((1 - share) * len(whole.text))
        parts = whole.text[:place], whole.text[place:]
        if not all(parts):
            raise DataError(f"{whole.place} is too short to take a test from it; name --test")
        train, test = ([whole._replace(text=text)] for text in parts)
        return source._replace(documents=train), source._replace(documents=test, empty=0)
    if len(documents) == 1:
        raise DataError(f"{documents[0].place} is the only prompt; give more, or name --test")
    count = min(max(1, round(share * len(documents))), len(documents) - 1)
    rng = stream(seed, Purpose.PUZZLES, SPLIT)
    is_test = np.zeros(len(documents), bool)
    is_test[rng.permutation(len(documents))[:count]] = True
    train = [each for each, chosen in zip(documents, is_test.tolist(), strict=True) if not chosen]
    test = [each for each, chosen in zip(documents, is_test.tolist(), strict=True) if chosen]
    return source._replace(documents=train), source._replace(documents=test, empty=0)


def _tokenizer(options: Options, source: Source) -> Characters | BytePairs:
    """Make or read the tokenizer; what is learned is learned from the training text alone."""
    if options.train_bpe is not None:
        return train_tokenizer(list(_texts(source)), options.train_bpe)
    if options.tokenizer != CHARS:
        return read_tokenizer(Path(options.tokenizer))
    characters = set().union(*_texts(source)) - {END}
    end = END if source.has_prompts else ""
    return Characters("".join(sorted(characters)) + end)


def _texts(source: Source) -> Iterator[str]:
    for document in source.documents:
        if document.prompt:
            yield document.prompt
        yield document.text


def _encoded(source: Source, tokenizer: Characters | BytePairs) -> Part:
    """Encode all documents. Raises: DataError naming the place of an unknown character."""
    documents, too_short = [], 0
    for document in source.documents:
        try:
            given = tokenizer.encode(document.prompt or "")
            text = tokenizer.encode(document.text)
        except PuzzleError as error:
            raise DataError(f"{document.place}, {error}") from error
        begin = np.array(tokenizer.begin, np.int32)
        end = np.array(tokenizer.end, np.int32)
        tokens = np.concatenate([begin, given, text, end])
        num_prompt = 0 if document.prompt is None else len(begin) + len(given)
        if len(tokens) < 2:
            too_short += 1
            continue
        documents.append(Encoded(tokens, num_prompt, document.place))
    if not documents:
        raise DataError(
            f"{source.documents[0].place}: no document has two tokens, one to learn from and one "
            "to predict; give longer texts"
        )
    return Part(documents, too_short)


def _scored(test: Windows, tokenizer: Characters | BytePairs) -> Scored:
    """Count the tokens that the test scores, and their bytes."""
    num_bytes = tokenizer.num_bytes()
    scored = Scored(0, 0)
    for block in test:
        labels = block.labels[block.labels != tokenizer.pad]
        scored = Scored(scored.tokens + len(labels), scored.bytes + int(num_bytes[labels].sum()))
    return scored


def _first_tokens(part: Part, most: int) -> list[TokenArray]:
    """Return the tokens of the first documents, at most so many in all."""
    documents = []
    for tokens in part.tokens:
        if most <= 0:
            break
        documents.append(tokens[:most])
        most -= len(tokens)
    return documents


def _ngram_losses(
    train: Sequence[TokenArray], test: Part, tokenizer: Characters | BytePairs, seq_len: int
) -> FloatArray:
    """Compute the losses in nats of a 5-gram of training text at the tokens that are scored."""
    outcomes = np.delete(np.arange(tokenizer.vocab_size), tokenizer.pad)
    model = ngrams.fit(train, tokenizer.vocab_size, ORDER, outcomes)
    if not test.has_prompts:
        return model.losses_of_all(test.tokens)
    losses = []
    for document in test.documents:
        of_document = model.losses(document.tokens[: seq_len + 1])
        losses.append(of_document[max(document.num_prompt - 1, 0) :])
    return np.concatenate(losses)


def _task(tokenizer: Characters | BytePairs, seq_len: int, bytes_per_token: float) -> Text:
    if isinstance(tokenizer, Characters):
        return Text(tokenizer.vocab_size, seq_len, {"alphabet": tokenizer.alphabet})
    sha256 = hashlib.sha256(tokenizer.to_text().encode()).hexdigest()
    settings = {"tokenizer": sha256, "bytes_per_token": bytes_per_token}
    return Text(tokenizer.vocab_size, seq_len, settings)


def _name_of(options: Options) -> str:
    """Describe where byte-pair tokens came from."""
    if options.train_bpe is not None:
        return "learned from the training text"
    return Path(options.tokenizer).resolve().name


def _remarkable(
    train: Source, test: Source, parts: Mapping[str, Part], seq_len: int
) -> dict[str, Any]:
    """Count what a user should know of the texts, for build.json."""
    found: dict[str, Any] = {
        "empty_documents": train.empty + test.empty,
        "short_documents": sum(part.too_short for part in parts.values()),
        "repeated_documents": len(train.documents) - len(set(map(_content, train.documents))),
        "test_documents_in_training": _in_training(parts),
    }
    if parts["train"].has_prompts:
        cuts = [count_cut(part.pairs, seq_len) for part in parts.values()]
        found["prompts_left_out"] = sum(each.left_out for each in cuts)
        found["responses_cut"] = sum(each.pairs for each in cuts)
        found["tokens_cut"] = sum(each.tokens for each in cuts)
    return found


def _content(document: Document) -> tuple[str | None, str]:
    return document.prompt, document.text


def _in_training(parts: Mapping[str, Part]) -> list[str]:
    """Name the documents of the test that stand in the training text, for the most part or whole."""
    shares = share_in_training(parts["test"].tokens, parts["train"].tokens)
    places = [document.place for document in parts["test"].documents]
    return [place for place, share in zip(places, shares.tolist(), strict=True) if share > SHARED]


def _short(record: Mapping[str, Any]) -> dict[str, Any]:
    """Return build.json for scripts, with counts instead of long lists."""
    named = record["test_documents_in_training"]
    return {**record, "test_documents_in_training": len(named)}


def _summary(record: Mapping[str, Any], task: Text, num_windows: Mapping[str, int]) -> str:
    """Describe a data set in one line."""
    sizes = []
    for name, count in num_windows.items():
        tokens, documents = record["tokens"][name], record["documents"][name]
        sizes.append(f"{name}: {count:,} windows, {tokens:,} tokens of {documents:,} documents")
    bits = task.bits(record["baselines"][BASELINE])
    loss = f"{task.headline.text(bits)} bits per {task.unit}"
    text = "the training text"
    if record["baseline_tokens"] < record["tokens"]["train"]:
        text = f"the first {record['baseline_tokens']:,} training tokens"
    ngram = f"a Kneser-Ney 5-gram of {text} has {loss} on the test"
    return f"{'; '.join(sizes)}; {task.vocab_size:,} tokens in the vocabulary; {ngram}"


def _warnings(record: Mapping[str, Any]) -> Iterator[str]:
    """Yield a sentence for each thing that makes results doubtful."""
    if record["empty_documents"]:
        yield f"empty documents, skipped: {record['empty_documents']:,}"
    if record["short_documents"]:
        yield f"documents shorter than two tokens, skipped: {record['short_documents']:,}"
    if record["repeated_documents"]:
        yield (
            f"training documents that stand there more than once: {record['repeated_documents']:,}; "
            "a model learns them by heart, and its training loss says little"
        )
    leaked = record["test_documents_in_training"]
    if leaked:
        yield (
            f"test documents that stand in the training text: {len(leaked):,} "
            f"({first_few(leaked)}); a loss on them is no loss on new text"
        )
    if record.get("prompts_left_out"):
        yield (
            f"prompts that leave no room for a response, left out: {record['prompts_left_out']:,}; "
            "give a larger --seq-len"
        )
    if record.get("responses_cut"):
        yield (
            f"responses cut: {record['responses_cut']:,}, by {record['tokens_cut']:,} tokens in all; "
            "give a larger --seq-len"
        )
