"""Every task with characters says the text of its tokens: `Spelled`."""

from typing import Any

import numpy as np
import pytest

from hrm_core.tasks.capabilities import Spelled
from hrm_core.tasks.contract import Task
from hrm_tasks.arc.task import Arc
from hrm_tasks.grids.task import Grids
from hrm_tasks.maze.task import Maze
from hrm_tasks.sudoku.task import Sudoku
from hrm_tasks.text.task import Text
from hrm_tasks.text.tokenizer import END, BytePairs, train_tokenizer


@pytest.fixture(scope="module")
def byte_pairs() -> BytePairs:
    pytest.importorskip("tokenizers", reason="tokenizers is missing: byte pairs are not tested")
    return train_tokenizer(["a the the the the"], 264)


@pytest.mark.parametrize(
    ("task", "texts"),
    [
        (Sudoku(4), ["", "", "1", "2", "3", "4"]),
        (Maze(5), ["", "#", " ", "S", "G", "o"]),
        (Arc(), ["", "", *"0123456789"]),
        (Grids(".AB", 3, 3), ["", "", ".", "A", "B"]),
        (Text(5, 8, {"alphabet": "\n14b"}), ["", "\n", "1", "4", "b"]),
        (Text(4, 8, {"alphabet": "ab" + END}), ["", "a", "b", ""]),
    ],
    ids=lambda value: value.name if isinstance(value, Task) else "",
)
def test_every_task_says_the_text_of_its_tokens(task: Any, texts: list[str]) -> None:
    assert isinstance(task, Spelled)
    assert list(task.token_texts) == texts
    assert len(texts) == task.vocab_size


def test_byte_pairs_are_the_text_that_they_decode_to(byte_pairs: BytePairs) -> None:
    texts = byte_pairs.texts()
    assert len(texts) == byte_pairs.vocab_size
    assert texts[:5] == [""] * 5, "special tokens"
    assert {" the", "1", " ", "\n"} <= set(texts)
    halves = [token for token in byte_pairs.encode("é").tolist() if not texts[token]]
    assert len(halves) == 2, "two bytes, each no character"
    for token, text in enumerate(texts):
        assert not text or byte_pairs.decode(np.array([token])) == text


def test_words_that_were_added_to_byte_pairs_stand_for_themselves(byte_pairs: BytePairs) -> None:
    import tokenizers

    library = tokenizers.Tokenizer.from_str(byte_pairs.to_text())
    library.add_tokens(["one word"])
    library.add_special_tokens(["<end>"])
    added = BytePairs(library.to_str())
    assert added.texts()[-2:] == ["one word", ""]
