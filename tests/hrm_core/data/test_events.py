import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hrm_core.data import events
from hrm_core.data.events import count_cut, prompt_windows, windows
from hrm_core.data.writer import Examples

FUZZ = settings(deadline=None, derandomize=True, max_examples=200)
PAD, IGNORED = 0, -1

lengths_of_documents = st.lists(st.integers(0, 40), max_size=5)
pairs_of_lengths = st.lists(st.tuples(st.integers(0, 12), st.integers(0, 12)), max_size=5)


def numbered(lengths: list[int]) -> list[np.ndarray]:
    """Documents in which no token stands twice, from 1."""
    ends = np.cumsum([0, *lengths])
    return [np.arange(end - length, end) + 1 for length, end in zip(lengths, ends[1:], strict=True)]


def joined(blocks: list[Examples]) -> tuple[np.ndarray, np.ndarray]:
    """Inputs and labels of all blocks."""
    inputs = [np.asarray(block.inputs) for block in blocks]
    labels = [np.asarray(block.labels) for block in blocks]
    return np.concatenate(inputs), np.concatenate(labels)


def cut_windows(lengths: list[int], seq_len: int, test: bool) -> tuple[np.ndarray, np.ndarray]:
    blocks = list(windows(numbered(lengths), seq_len, PAD, IGNORED, test))
    return joined(blocks) if blocks else (np.empty((0, seq_len)), np.empty((0, seq_len)))


@FUZZ
@given(lengths_of_documents, st.integers(1, 9))
def test_the_test_scores_every_token_but_the_first_once(lengths: list[int], seq_len: int) -> None:
    _, labels = cut_windows(lengths, seq_len, test=True)
    expected = [token for document in numbered(lengths) for token in document[1:]]
    assert sorted(labels[labels != IGNORED]) == expected


@FUZZ
@given(lengths_of_documents, st.integers(1, 9))
def test_scored_tokens_have_half_a_window_of_context(lengths: list[int], seq_len: int) -> None:
    inputs, labels = cut_windows(lengths, seq_len, test=True)
    first_tokens = {document[0] for document in numbered(lengths) if len(document)}
    for row, column in zip(*np.nonzero(labels != IGNORED), strict=True):
        has_all = inputs[row, 0] in first_tokens
        assert has_all or column + 1 >= seq_len / 2


@FUZZ
@given(lengths_of_documents, st.integers(1, 9), st.booleans())
def test_labels_are_the_next_inputs_of_one_document(
    lengths: list[int], seq_len: int, test: bool
) -> None:
    inputs, labels = cut_windows(lengths, seq_len, test)
    is_label = labels != IGNORED
    assert (labels[is_label] == inputs[is_label] + 1).all()
    is_last = np.isin(labels, [document[-1] for document in numbered(lengths) if len(document)])
    following = inputs[:, 1:][is_last[:, :-1]]
    assert np.isin(following, [PAD, *labels[is_last]]).all()
    steps = np.diff(inputs, axis=1)
    assert ((steps == 1) | (inputs[:, 1:] == PAD)).all()


@FUZZ
@given(lengths_of_documents, st.integers(1, 9))
def test_training_scores_all_labels_of_the_same_windows(lengths: list[int], seq_len: int) -> None:
    inputs, labels = cut_windows(lengths, seq_len, test=False)
    test_inputs, test_labels = cut_windows(lengths, seq_len, test=True)
    np.testing.assert_array_equal(inputs, test_inputs)
    is_scored = test_labels != IGNORED
    np.testing.assert_array_equal(labels[is_scored], test_labels[is_scored])
    num_tokens = sum(max(length - 1, 0) for length in lengths)
    assert (labels != IGNORED).sum() >= num_tokens
    is_full = (inputs != PAD).all(axis=1) & (inputs[:, -1:] + 1 == labels[:, -1:]).all(axis=1)
    assert (labels[is_full] != IGNORED).all()


def test_windows_overlap_by_half_and_the_last_ends_with_the_document() -> None:
    inputs, labels = cut_windows([10, 3], 4, test=True)
    assert inputs.tolist() == [
        [1, 2, 3, 4],
        [3, 4, 5, 6],
        [5, 6, 7, 8],
        [6, 7, 8, 9],
        [11, 12, 13, 0],
    ]
    assert labels.tolist() == [
        [2, 3, 4, 5],
        [-1, -1, 6, 7],
        [-1, -1, 8, 9],
        [-1, -1, -1, 10],
        [12, 13, -1, -1],
    ]


def test_a_document_of_one_window_is_not_padded() -> None:
    inputs, labels = cut_windows([5], 4, test=False)
    assert inputs.tolist() == [[1, 2, 3, 4]]
    assert labels.tolist() == [[2, 3, 4, 5]]


def test_each_window_is_one_puzzle_of_the_blank_identifier() -> None:
    (block,) = windows(numbered([10]), 4, PAD, IGNORED, test=False)
    assert block.puzzle_sizes is None
    assert block.group_sizes is None
    assert block.puzzle_identifiers is None


def test_small_blocks_hold_the_same_windows(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = cut_windows([30, 7, 2, 19], 4, test=True)
    monkeypatch.setattr(events, "BLOCK_CELLS", 12)
    blocks = list(windows(numbered([30, 7, 2, 19]), 4, PAD, IGNORED, test=True))
    assert {len(block.inputs) for block in blocks[:-1]} == {3}
    for parts, expected in zip(joined(blocks), whole, strict=True):
        np.testing.assert_array_equal(parts, expected)


def test_labels_of_a_prompt_are_ignored() -> None:
    pairs = [(np.array([1, 2, 3]), np.array([4, 5])), (np.array([], int), np.array([6, 7]))]
    (block,) = prompt_windows(pairs, 6, PAD, IGNORED)
    assert block.inputs.tolist() == [[1, 2, 3, 4, 5, 0], [6, 7, 0, 0, 0, 0]]
    assert block.labels.tolist() == [[-1, -1, 4, 5, -1, -1], [7, -1, -1, -1, -1, -1]]
    assert block.prefix_len is not None
    assert block.prefix_len.tolist() == [3, 0]
    assert count_cut(pairs, 6) == (0, 0, 0)


def test_what_does_not_fit_behind_a_prompt_is_cut_and_counted() -> None:
    long, short = np.arange(1, 6), np.arange(1, 3)
    pairs = [(short, long), (long, short), (short, short), (short, short[:0])]
    (block,) = prompt_windows(pairs, 4, PAD, IGNORED)
    assert block.inputs.tolist() == [[1, 2, 1, 2], [1, 2, 1, 2]]
    assert block.labels.tolist() == [[-1, 1, 2, 3], [-1, 1, 2, -1]]
    assert count_cut(pairs, 4) == (2, 1, 2)


@FUZZ
@given(pairs_of_lengths, st.integers(1, 9), st.integers(1, 30))
def test_every_token_of_a_response_is_scored_or_counted_as_cut(
    lengths: list[tuple[int, int]], seq_len: int, block_cells: int
) -> None:
    parts = numbered([length for pair in lengths for length in pair])
    pairs = list(zip(parts[::2], parts[1::2], strict=True))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(events, "BLOCK_CELLS", block_cells)
        blocks = list(prompt_windows(pairs, seq_len, PAD, IGNORED))
    cut = count_cut(pairs, seq_len)
    assert sum(len(block.inputs) for block in blocks) == len(pairs) - cut.left_out
    scored, left_out = set(), 0
    for block in blocks:
        assert block.prefix_len is not None
        labels = np.asarray(block.labels)
        assert (labels != IGNORED).any(axis=1).all()
        assert (block.prefix_len <= seq_len).all()
        scored |= set(labels[labels != IGNORED].tolist())
    num_cut = 0
    for prompt, response in pairs:
        predicted = set(response[not len(prompt) :].tolist())
        missing = predicted - scored
        if predicted == missing:
            left_out += 1
        else:
            num_cut += len(missing)
    assert (left_out, num_cut) == (cut.left_out, cut.tokens)
    responses = {token for _, response in pairs for token in response.tolist()}
    assert scored <= responses


def test_no_documents_give_no_windows() -> None:
    assert list(windows([], 4, PAD, IGNORED, test=True)) == []
    assert list(windows(numbered([1, 0]), 4, PAD, IGNORED, test=True)) == []
    assert list(prompt_windows([], 4, PAD, IGNORED)) == []
    assert count_cut([], 4) == (0, 0, 0)
