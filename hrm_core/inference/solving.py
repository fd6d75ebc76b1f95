"""Solve puzzles as people write them and describe the answers.

A model of several puzzle identifiers is asked under that of the puzzle. A task that is `Polled` is
asked under all identifiers of its puzzle; other puzzles may be asked under symmetries, and an
answer is chosen as in `voting.py`.

Shapes: A ACT steps, N puzzles, K answers to one puzzle, S cells.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from hrm_core.backend import Backend
from hrm_core.config import ModelConfig, validated
from hrm_core.errors import PuzzleError
from hrm_core.inference.asking import AskedPuzzle, Patience, Trajectory, ask, groups
from hrm_core.inference.generating import Sampling, continue_tokens, require_generative
from hrm_core.inference.predicting import ModelAsk
from hrm_core.inference.reading import read_given
from hrm_core.inference.slots import Halt, check_steps, most_steps
from hrm_core.inference.solution import Solution, Solutions
from hrm_core.inference.voting import polling_of
from hrm_core.inference.watching import Watch, unwatched
from hrm_core.runs.identifiers import BLANK, ONLY_BLANK, Identifiers
from hrm_core.tasks.capabilities import (
    Asked,
    Outcomes,
    Polled,
    Question,
    Report,
)
from hrm_core.tasks.contract import IntArray, Task
from hrm_core.tasks.registry import predictor

GREEDY = Sampling()


@dataclass(frozen=True, eq=False)
class Solver:
    """A trained model with the task it was trained on, and the puzzles it knows by name."""

    backend: Backend
    task: Task
    identifiers: Identifiers = ONLY_BLANK

    def solve(
        self,
        text: Any,
        halt: Halt | None = None,
        identifier: str = "",
        votes: int | None = None,
        steps: int | None = None,
    ) -> Solutions:
        """Solve every puzzle in a text, in the file of a Path, or in arrays or lists of cells.

        Cells are (S,), (H, W) or (N, H, W), with 0 or None for blanks.
        `identifier` is the name of a puzzle that the model was trained on, or "blank"; it is
        needed if there are several. `votes` is the number of answers to choose from: answers to
        augmentations for ARC, 100 if not set; else answers to symmetries, 1 if not set. `steps` is
        the number of ACT steps that an answer takes at most. If it is not set, that is
        `halt_max_steps`; twice as many where the model halts itself within them.

        Raises: PuzzleError naming the puzzle and the place in it, or what is expected; or if no
        puzzle of that name was trained, or there are no symmetries. ConfigError if the model cannot take so many steps.
        """
        return self.solve_puzzles(read_given(self.task, text), halt, identifier, votes, steps)

    def generate(
        self, prompt: str, max_tokens: int = 100, sampling: Sampling = GREEDY
    ) -> Iterator[str]:
        """Continue a text and yield it piece by piece, as it grows.

        Raises: PuzzleError if the task has no text, or naming a character that was not trained;
        ConfigError if positions of the model see later ones.
        """
        task = require_generative(self.task, self.backend.config)
        tokens = task.encode(prompt)
        for generated in continue_tokens(self.backend, task, tokens, max_tokens, sampling):
            yield generated.text

    def predict(self, *things: Any, **options: Any) -> Report:
        """Predict the outcomes of the task: what `hrm predict` prints, with the same options.

        `things` are paths; for a model of pictures also arrays or pictures of Pillow. The report
        prints as text and has `record()`.

        Raises: PuzzleError if the task predicts nothing; ConfigError if an option is not its own;
        DataError naming what cannot be read.
        """
        found = predictor(self.task.name)
        if found is None or not isinstance(self.task, Outcomes):
            raise PuzzleError(f"{self.task.name} has no outcomes to predict")
        paths = [Path(thing) if isinstance(thing, str) else thing for thing in things]
        for path in paths:
            if not isinstance(path, found.Options.takes):
                kind = type(path).__name__
                raise PuzzleError(
                    f"{self.task.name} predicts from files, not from {kind}; give paths"
                )
        if not paths:
            raise PuzzleError("nothing to predict from; give at least one path or picture")
        given = validated(found.Options, options, f"predict of {self.task.name}")
        report: Report = found.predict(self.task, paths, given, ModelAsk(self.backend, self.task))
        return report

    def solve_tokens(
        self,
        questions: IntArray,
        halt: Halt | None = None,
        identifier: str = "",
        votes: int | None = None,
        steps: int | None = None,
    ) -> Solutions:
        """Solve puzzles (N, S) given as tokens.

        With halt "q" a puzzle ends when q_halt > q_continue, with "fixed" after all ACT steps.
        If it is not set, it is "q", or "fixed" for a model that did not learn when to halt.
        """
        asked = list(map(Question, questions))
        return self.solve_puzzles(asked, halt, identifier, votes, steps)

    def solve_puzzles(
        self,
        questions: Sequence[Question],
        halt: Halt | None = None,
        identifier: str = "",
        votes: int | None = None,
        steps: int | None = None,
        watch: Watch = unwatched,
    ) -> Solutions:
        """Solve puzzles, each under its own name or all of them as the one that `identifier` names.

        `watch` is told of every ACT step as it comes; an exception from it ends the thinking.

        Raises: PuzzleError if the model was trained on none of that name, if there are no
        symmetries to vote with, or if a question lacks what the model wants beside tokens;
        ConfigError if it cannot take so many steps.
        """
        check_steps(steps, self.backend.config)
        for number, question in enumerate(questions, start=1):
            _check_serves(question, number, self.backend.config)
        names = [identifier or question.name for question in questions]
        found = {name: self.identifiers.find(name, self.task) for name in dict.fromkeys(names)}
        if any(numbers.any() for numbers in found.values()):
            self.identifiers.warn_if_taken()
        asked = []
        for number, (question, name) in enumerate(zip(questions, names, strict=True)):
            asked.append(self._asked(number, question, name, found[name], votes))
        chosen = halt or self.backend.config.halting
        most = steps or most_steps(chosen, self.backend.config)
        patience = Patience(chosen, most, steps or self.backend.config.halt_max_steps)
        solutions = Solutions()
        for group in groups(asked, most * self.backend.config.num_cells):
            first = len(solutions)
            paths = ask(self.backend, self.task, group, patience, watch, first)
            solutions += map(self._solution, group, paths)
        return solutions

    def _asked(
        self, number: int, question: Question, name: str, identifiers: IntArray, votes: int | None
    ) -> AskedPuzzle:
        """Ask a puzzle under the identifiers of a name, or under one of them and symmetries."""
        polling = polling_of(self.task, number)
        count = votes or polling.votes
        is_known = bool(identifiers[0])
        name = name if is_known else BLANK
        if not isinstance(self.task, Polled):
            own = np.repeat(identifiers[:1], count)
            asked = polling.ask(question.tokens, [name] * count)
            return AskedPuzzle(question, name, own, asked, polling)
        if not is_known:  # the model has no augmentations of it
            asked = Asked(question.tokens[None], lambda k, answers: answers)
            return AskedPuzzle(question, name, identifiers[:1], asked, polling)
        chosen = identifiers[:count]
        names = [self.identifiers.names[number] for number in chosen.tolist()]
        asked = polling.ask(question.tokens, names)
        return AskedPuzzle(question, name, chosen, asked, polling)

    def _solution(self, puzzle: AskedPuzzle, paths: Sequence[Trajectory]) -> Solution:
        """Choose the answer to one puzzle among those to the forms in which it was asked."""
        question, undo = puzzle.question, puzzle.asked.undo
        answers = np.concatenate([undo(k, path.answers[-1:]) for k, path in enumerate(paths)])
        q_halt_logits = np.array([path.q_halt_logits[-1] for path in paths])
        attempts = puzzle.polling.attempts(question.tokens, answers, q_halt_logits)
        best = attempts[0].row if attempts else 0
        agreeing = (answers == answers[best]).all(axis=1)
        return Solution(
            task=self.task,
            question=question.tokens,
            answers=undo(best, paths[best].answers),
            q_halt_logits=paths[best].q_halt_logits,
            settled_step=paths[best].settled_step,
            identifier=puzzle.name,
            num_identifiers=len(np.unique(puzzle.identifiers)),
            num_answers=len(answers),
            num_agreeing=int(agreeing.sum()),
            attempts=attempts if isinstance(self.task, Polled) else (),
            solution=question.solution,
        )


def _check_serves(question: Question, number: int, config: ModelConfig) -> None:
    """Refuse a question without the prefix or the image that a model wants.

    Raises: PuzzleError naming the question.
    """
    where = f"puzzle {number}"
    if config.attention == "prefix" and not 0 <= question.prefix_len <= config.seq_len:
        raise PuzzleError(
            f"{where} has prefix_len={question.prefix_len}, expected 0 to {config.seq_len}"
        )
    if config.image_size is None:
        return
    wanted = f"uint8 {config.image_size}"
    image = question.image
    if image is None:
        raise PuzzleError(
            f"{where} has no image, which model.patch_size needs: {wanted}; "
            "measure such a model with hrm eval"
        )
    if image.shape != config.image_size or image.dtype != np.uint8:
        raise PuzzleError(f"{where} has an image of {image.dtype} {image.shape}, expected {wanted}")
