"""The work that requests ask of the model. Each function returns work for the thread that owns it.

Shapes: A ACT steps, S cells, V tokens.
"""

import tempfile
import time
from base64 import b64encode
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path, PurePath
from typing import Any

import numpy as np

from hrm_core.errors import HRMError, PuzzleError
from hrm_core.inference.generating import Generated, continue_tokens, require_generative
from hrm_core.inference.predicting import ModelAsk
from hrm_core.inference.reading import read_puzzles, read_text
from hrm_core.inference.records import solution_record
from hrm_core.inference.slots import check_halt
from hrm_core.inference.solution import Solution, require_readable
from hrm_core.inference.solving import Solver
from hrm_core.inference.watching import Moment
from hrm_core.pictures.grids import Mark
from hrm_core.pictures.sheets import cell_size
from hrm_core.tasks.capabilities import (
    Checked,
    Drawable,
    Generative,
    Judged,
    Polled,
    Question,
    Report,
    Table,
    given_cells,
)
from hrm_core.tasks.contract import IntArray, Task, TokenArray
from hrm_core.tasks.editing import Editable
from hrm_core.tasks.registry import predictor
from hrm_web.options import read_options
from hrm_web.wishes import MAX_FORMS, TextWish, Wish
from hrm_web.worker import Tell, Work

STEP, TOKEN = "step", "token"  # names of events
PICTURE_ROOM = 480  # pixels of the longer side
NUM_TOP = 5  # tokens shown beside the one that was chosen


def read_sent(task: Task, name: str, content: bytes) -> list[Question]:
    """Read the puzzles of a text, or of a file with a name. Raises: PuzzleError."""
    require_readable(task)
    questions = read_file(task, name, content) if name else read_typed(task, content)
    if len(questions) > MAX_FORMS:
        raise PuzzleError(
            f"{len(questions):,} puzzles; the page takes {MAX_FORMS} at once: use hrm solve"
        )
    return questions


def read_typed(task: Task, content: bytes) -> list[Question]:
    """Read the puzzles of a text. Raises: PuzzleError naming the puzzle and the place in it."""
    try:
        text = content.decode("utf-8")
    except UnicodeDecodeError as error:
        raise PuzzleError(f"the text is not UTF-8: byte {error.start:,}; convert it") from error
    return read_text(task, text)


def read_file(task: Task, name: str, content: bytes) -> list[Question]:
    """Read the puzzles of a file that was sent, of any format that `hrm solve` reads.

    Raises: PuzzleError naming the puzzle and the place in it, without the place of the copy.
    """
    with _copy_of(name, content) as path:
        return read_puzzles(task, [str(path)], lambda: "")


@contextmanager
def _copy_of(name: str, content: bytes) -> Iterator[Path]:
    """Write a file that was sent into a folder of its own, which is removed in the end.

    Raises: PuzzleError for a name that no file has; errors inside, with the name instead of the path.
    """
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, PurePath(name.replace("\\", "/")).name or "file")
        try:
            path.write_bytes(content)
        except (OSError, ValueError) as error:
            raise PuzzleError(f"no file is called {name[:60]!r}; rename it") from error
        try:
            yield path
        except HRMError as error:
            raise type(error)(str(error).replace(str(path), path.name)) from None


def asked(wish: Wish, task: Task) -> list[Question]:
    """Return the puzzles of a wish. Raises: PuzzleError."""
    questions = read_text(task, wish.puzzles, wish.name)
    if wish.only is not None:
        if wish.only >= len(questions):
            raise PuzzleError(f"only={wish.only}; the text has {len(questions):,} puzzles, from 0")
        questions = [questions[wish.only]]
    if wish.solution:
        questions = [_with_solution(questions, wish.solution, task)]
    votes = wish.votes or (task.votes if isinstance(task, Polled) else 1)
    if len(questions) * votes > MAX_FORMS:
        raise PuzzleError(
            f"{len(questions):,} puzzles are asked {votes:,} times each; this server takes "
            f"{MAX_FORMS} at once: send fewer, or use hrm solve"
        )
    return questions


def _with_solution(questions: Sequence[Question], text: str, task: Task) -> Question:
    """Add the known solution to a question. Raises: PuzzleError."""
    if not isinstance(task, Polled):
        raise PuzzleError(f"a solution judges the attempts at a puzzle, and {task.name} makes none")
    solutions = read_text(task, text)
    if len(questions) != 1 or len(solutions) != 1:
        raise PuzzleError(
            f"{len(questions):,} puzzles and {len(solutions):,} solutions; expected one of each"
        )
    return questions[0]._replace(solution=solutions[0].tokens)


def solving(wish: Wish, questions: Sequence[Question]) -> Work:
    """Solve puzzles; the result is that of `hrm solve --json`."""

    def work(solver: Solver, tell: Tell) -> list[dict[str, Any]]:
        def watch(moment: Moment) -> None:
            tell(STEP, {"thinking": moment.num_thinking})

        solutions = _solve(solver, wish, questions, watch)
        return [solution_record(solution, wish.steps) for solution in solutions]

    return work


def thinking(wish: Wish, question: Question) -> Work:
    """Solve one puzzle and tell of every ACT step as it comes."""

    def work(solver: Solver, tell: Tell) -> dict[str, Any]:
        before = question.tokens
        began = time.perf_counter()

        def watch(moment: Moment) -> None:
            nonlocal before
            tell("thinking", {"forms": moment.num_thinking, "form": moment.form})
            for thought in moment.thoughts:
                logits = [thought.q_halt_logit, thought.q_continue_logit]
                tell(STEP, _step(solver.task, question.tokens, before, thought.answer, logits))
                before = thought.answer

        (solution,) = _solve(solver, wish, [question], watch)
        return _result(solution, wish) | {"seconds": round(time.perf_counter() - began, 3)}

    return work


def _solve(solver: Solver, wish: Wish, questions: Sequence[Question], watch: Any) -> list[Solution]:
    if wish.halt:
        check_halt(wish.halt, solver.backend.config)
    return solver.solve_puzzles(
        questions, wish.halt, wish.identifier, wish.votes, wish.steps, watch
    )


def _step(
    task: Task, question: TokenArray, before: TokenArray, answer: TokenArray, logits: Any
) -> dict[str, Any]:
    """Return one answer (S,) with what the page marks in it."""
    is_accepted = None
    if isinstance(task, Judged):
        is_accepted = task.accepts(question, answer)
    return _looks(task, question, before, answer) | {
        "tokens": answer.tolist(),
        "changed": np.flatnonzero(answer != before).tolist(),
        "conflicts": _conflicts(task, question, answer),
        "accepted": is_accepted,
        "q": [round(float(value), 4) for value in logits],
    }


def _looks(
    task: Task, question: TokenArray, before: TokenArray, answer: TokenArray
) -> dict[str, Any]:
    """Return text and picture of an answer that has no board on the page."""
    if isinstance(task, Editable):
        return {}
    looks = {"text": require_readable(task).format(answer)}
    if isinstance(task, Drawable):
        is_given = given_cells(task, question) & (answer == question)
        marks = np.select([is_given, answer != before], [Mark.GIVEN, Mark.CHANGED], Mark.PLAIN)
        cell = cell_size(task.picture, [question, answer], PICTURE_ROOM)
        file = BytesIO()
        task.picture(answer, marks, cell).save(file, format="PNG")
        looks["picture"] = f"data:image/png;base64,{b64encode(file.getvalue()).decode()}"
    return looks


def _conflicts(task: Task, question: IntArray, answer: IntArray) -> list[int] | None:
    """Return the cells that break a rule; None if the task does not say which do."""
    if not isinstance(task, Checked):
        return None
    (marked,) = task.conflicts(question[None], answer[None])
    cells: list[int] = np.flatnonzero(marked).tolist()
    return cells


def _result(solution: Solution, wish: Wish) -> dict[str, Any]:
    """Return the record of a solution and the path of the answer that was chosen."""
    task, question = solution.task, solution.question
    steps = []
    before = question
    for answer, logit in zip(solution.answers, solution.q_halt_logits, strict=True):
        steps.append(_step(task, question, before, answer, [logit]))
        before = answer
    attempts = [
        {"tokens": each.answer.tolist(), "votes": each.count, "confidence": each.confidence}
        for each in solution.attempts
    ]
    return {
        "record": solution_record(solution, wish.steps),
        "text": str(solution),
        "steps": steps,
        "attempts": attempts,
    }


def generating(wish: TextWish) -> Work:
    """Go on with a text and tell of every token, with the likeliest ones beside it."""

    def work(solver: Solver, tell: Tell) -> dict[str, Any]:
        task = require_generative(solver.task, solver.backend.config)
        prompt = task.encode(wish.prompt)
        began = time.perf_counter()
        parts = []
        is_stopped = False
        for found in continue_tokens(solver.backend, task, prompt, wish.max_tokens, wish.sampling):
            tell(TOKEN, _token(task, found))
            parts.append(found.text)
            is_stopped = found.is_last
        return {
            "text": "".join(parts),
            "tokens": len(parts),
            "finish": "stop" if is_stopped else "length",
            "seconds": round(time.perf_counter() - began, 3),
        }

    return work


def _token(task: Generative, found: Generated) -> dict[str, Any]:
    numbers, logs = found.top.tokens[0, :NUM_TOP], found.top.log_probabilities[0, :NUM_TOP]
    top = [
        {"text": _shown(task, number), "probability": round(float(np.exp(log)), 5)}
        for number, log in zip(numbers.tolist(), logs.tolist(), strict=True)
    ]
    probability = round(float(np.exp(found.log_probability)), 5)
    return {"text": found.text, "probability": probability, "top": top, "is_last": found.is_last}


def _shown(task: Generative, number: int) -> str:
    """Return the text of one token; that which ends a text has none."""
    if number == task.stop_token:
        return "end of text"
    return task.decode(np.array([number]))


def predicting(name: str, content: bytes, texts: Mapping[str, str]) -> Work:
    """Predict what a file asks about, as `hrm predict` does."""

    def work(solver: Solver, tell: Tell) -> dict[str, Any]:
        task: Any = solver.task
        found = predictor(task.name)
        if found is None:
            raise PuzzleError(f"{task.name} has no outcomes to predict")
        options = read_options(found.Options, texts)
        with _copy_of(name, content) as path:
            report = found.predict(task, [path], options, ModelAsk(solver.backend, task))
            result = {"record": report.record(), "pages": _pages(report)}
            named: dict[str, Any] = _replaced(result, str(path), path.name)
            return named

    return work


def _replaced(value: Any, old: str, new: str) -> Any:
    """Replace a text wherever it stands in values for JSON."""
    if isinstance(value, str):
        return value.replace(old, new)
    if isinstance(value, Mapping):
        return {key: _replaced(each, old, new) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_replaced(each, old, new) for each in value]
    return value


def _pages(report: Report) -> list[Any]:
    return [page._asdict() if isinstance(page, Table) else page for page in report.pages()]
