"""Windows over documents of tokens: the examples of a task that predicts the next token.

A window that begins at token i of a document t has inputs t[i : i+S] and labels t[i+1 : i+S+1].
Windows overlap by half and never cross documents. A document shorter than S + 1 tokens is one
padded window, and its last window ends with the document. In the test every token but the first of
a document is scored once: a window ignores labels that the window before it scored. Each window is
one puzzle in a group of its own.

Shapes: N windows, L tokens of a document, S = `seq_len`.
"""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

from hrm_core.data.arrays import BLOCK_CELLS, IntArray
from hrm_core.data.writer import Examples

Pair = tuple[IntArray, IntArray]  # tokens of a prompt and of the response to it


class Cut(NamedTuple):
    """Counts of what does not fit into windows of prompts and responses."""

    left_out: int  # pairs without a token to predict: a long prompt, or no response
    pairs: int  # pairs whose response is cut
    tokens: int  # of these responses, cut off


class Spans(NamedTuple):
    """Places of windows in a stream of documents, and the labels that are scored."""

    starts: IntArray  # (N,) first input
    num_inputs: IntArray  # (N,) the others are padding
    first_labels: IntArray  # (N,) labels before this one are ignored
    num_labels: IntArray  # (N,) labels from this one on are padding


def windows(
    documents: Sequence[IntArray], seq_len: int, pad: int, ignored: int, test: bool
) -> Iterator[Examples]:
    """Yield the windows of documents in their order, in blocks of rows.

    `pad` fills inputs, `ignored` labels. Documents shorter than two tokens have no windows.
    """
    spans = _spans(documents, seq_len, test)
    yield from _blocks(_joined(documents, seq_len + 1), spans, seq_len, pad, ignored)


def prompt_windows(
    pairs: Sequence[Pair], seq_len: int, pad: int, ignored: int
) -> Iterator[Examples]:
    """Yield one window of each prompt and its response, with labels on the response only.

    `prefix_len` is the length of the prompt. What does not fit is cut; `count_cut` counts it.
    """
    prompts, responses = _lengths(pairs)
    is_kept = _num_fitting(prompts, responses, seq_len) > 0
    totals = prompts + responses
    starts = (np.cumsum(totals) - totals)[is_kept]
    prompts, totals = prompts[is_kept], totals[is_kept]
    spans = Spans(
        starts,
        num_inputs=np.minimum(totals, seq_len),
        first_labels=np.maximum(prompts - 1, 0),
        num_labels=np.minimum(totals - 1, seq_len),
    )
    stream = _joined([part for pair in pairs for part in pair], seq_len + 1)
    done = 0
    for block in _blocks(stream, spans, seq_len, pad, ignored):
        prefix_len = prompts[done : done + len(block.inputs)]
        done += len(prefix_len)
        yield Examples(block.inputs, block.labels, prefix_len=prefix_len)


def count_cut(pairs: Sequence[Pair], seq_len: int) -> Cut:
    """Count what `prompt_windows` leaves out or cuts."""
    prompts, responses = _lengths(pairs)
    fitting = _num_fitting(prompts, responses, seq_len)
    is_kept = fitting > 0
    cut_off = (_num_fitting(prompts, responses, prompts + responses) - fitting)[is_kept]
    return Cut(int((~is_kept).sum()), int((cut_off > 0).sum()), int(cut_off.sum()))


def _spans(documents: Sequence[IntArray], seq_len: int, test: bool) -> Spans:
    """Place the windows of documents that lie one after the other."""
    lengths = np.array([len(document) for document in documents], np.int64)
    stride = max(seq_len // 2, 1)
    last_starts = np.maximum(lengths - 1 - seq_len, 0)  # in the document
    num_windows = np.where(lengths < 2, 0, 1 + -(-last_starts // stride))
    numbers = _counted_up(num_windows)
    starts = np.minimum(numbers * stride, np.repeat(last_starts, num_windows))
    overlaps = (numbers - 1) * stride + seq_len - starts
    first_labels = np.where(test & (numbers > 0), overlaps, 0)
    begins = np.repeat(np.cumsum(lengths) - lengths, num_windows)
    left = np.repeat(lengths, num_windows) - starts
    return Spans(
        begins + starts,
        num_inputs=np.minimum(left, seq_len),
        first_labels=first_labels,
        num_labels=np.minimum(left - 1, seq_len),
    )


def _counted_up(sizes: IntArray) -> IntArray:
    """Number the parts of each whole from 0: [2, 3] gives [0, 1, 0, 1, 2]."""
    before = np.cumsum(sizes) - sizes
    numbers: IntArray = np.arange(sizes.sum()) - np.repeat(before, sizes)
    return numbers


def _blocks(
    stream: IntArray, spans: Spans, seq_len: int, pad: int, ignored: int
) -> Iterator[Examples]:
    """Yield the windows that lie in a stream, a window longer than its tokens, in blocks that fit in memory."""
    num_rows = max(BLOCK_CELLS // seq_len, 1)
    columns = np.arange(seq_len)
    for first in range(0, len(spans.starts), num_rows):
        block = Spans(*(field[first : first + num_rows, None] for field in spans))
        cells = block.starts + columns
        is_input = columns < block.num_inputs
        is_label = (columns >= block.first_labels) & (columns < block.num_labels)
        yield Examples(
            inputs=np.where(is_input, stream[cells], pad),
            labels=np.where(is_label, stream[cells + 1], ignored),
        )


def _joined(documents: Sequence[IntArray], num_behind: int) -> IntArray:
    """Join documents to one stream of int32 with some zeros behind it."""
    behind = np.zeros(num_behind, np.int32)
    return np.concatenate([*documents, behind], dtype=np.int32, casting="same_kind")


def _lengths(pairs: Sequence[Pair]) -> tuple[IntArray, IntArray]:
    """Count the tokens of prompts and of responses."""
    lengths = [(len(prompt), len(response)) for prompt, response in pairs]
    prompts, responses = np.array(lengths, np.int64).reshape(-1, 2).T
    return prompts, responses


def _num_fitting(prompts: IntArray, responses: IntArray, seq_len: int | IntArray) -> IntArray:
    """Count the tokens of responses that windows predict; the first token of a pair is not."""
    first_labels = np.maximum(prompts - 1, 0)
    ends = np.minimum(prompts + responses - 1, seq_len)
    fitting: IntArray = np.maximum(ends - first_labels, 0)
    return fitting
