"""What presets are for, and which fit a data set."""

from pathlib import Path

from hrm_core.config import DataSizes, load_config
from hrm_core.plugins import preset_files, presets_of_task
from hrm_core.presets import _first_sentence, about_presets, fitting_presets


def test_every_preset_says_in_a_sentence_what_it_is_for() -> None:
    said = about_presets()
    assert list(said) == list(preset_files())
    assert all(sentence and sentence[-1] == "." for sentence in said.values())


def test_sentence_may_go_on_in_the_next_line_and_ends_at_its_stop(tmp_path: Path) -> None:
    path = tmp_path / "x.yaml"
    path.write_text("# For 1.5 million\n# boards. Another sentence.\nmodel:\n# a comment\n")
    assert _first_sentence(path) == "For 1.5 million boards."
    path.write_text("model:\n")
    assert _first_sentence(path) == ""


def test_presets_of_the_task_whose_sizes_are_those_of_the_data_fit() -> None:
    names = fitting_presets("sudoku", DataSizes(11, 81, 1))
    stated = {name: load_config(name).model for name in presets_of_task("sudoku")}
    expected = [name for name, m in stated.items() if (m.vocab_size, m.seq_len) == (11, 81)]
    assert names == expected
    assert "sudoku-9x9" in names
    assert "sudoku-4x4" not in names
    assert fitting_presets("maze", DataSizes(11, 81, 1)) == []
    assert fitting_presets("nothing", DataSizes(11, 81, 1)) == []
