import pytest

from hrm_core.tasks.registry import name_of_shape, published_length, task_of_shape


@pytest.mark.parametrize(
    ("shape", "task"),
    [
        ((11, 81), "sudoku"),
        ((6, 16), "sudoku"),
        ((8, 36), "sudoku"),
        ((6, 900), "maze"),
        ((12, 900), "arc"),
        ((12, 81), ""),
        ((256, 900), ""),
    ],
)
def test_tasks_are_known_by_their_shape(shape: tuple[int, int], task: str) -> None:
    assert name_of_shape(*shape) == task


def test_published_models_are_known_by_their_vocabulary() -> None:
    assert published_length(6) == ("maze", 900)
    assert published_length(7) is None


@pytest.mark.parametrize("label", ["chess", "sudoku [1]", 'arc {"canvas": 5', "os.path"])
def test_a_label_that_names_no_task_finds_none(label: str) -> None:
    assert task_of_shape(12, 900, label) is None
