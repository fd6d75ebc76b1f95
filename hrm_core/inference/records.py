"""Write results for programs: `hrm solve --json` and the page in the browser."""

from typing import Any

from hrm_core.inference.solution import Solution, require_readable
from hrm_core.tasks.capabilities import Polled


def solution_record(solution: Solution, max_steps: int | None = None) -> dict[str, Any]:
    """Return a solution as JSON-serialisable values, with `attempts` if the task makes several.

    `max_steps` is there where it was asked for, `flaw` where something is wrong with the question.
    """
    line = require_readable(solution.task).line
    record: dict[str, Any] = {
        "question": line(solution.question),
        "answer": line(solution.answer),
    }
    if isinstance(solution.task, Polled):
        record["attempts"] = [
            {
                "answer": line(attempt.answer),
                "votes": attempt.count,
                "confidence": round(attempt.confidence, 4),
            }
            for attempt in solution.attempts
        ]
    return record | {
        "identifier": solution.identifier,
        "num_identifiers": solution.num_identifiers,
        "num_answers": solution.num_answers,
        "num_agreeing": solution.num_agreeing,
        "accepted": solution.accepted,
        "verdict": solution.verdict,
        **({"flaw": solution.flaw} if solution.flaw else {}),
        **({"max_steps": max_steps} if max_steps else {}),
        "steps": len(solution.answers),
        "settled_step": solution.settled_step,
        "q_halt": [round(float(value), 4) for value in solution.q_halt_logits],
    }
