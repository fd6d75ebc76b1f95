"""Build data sets of cricket: split the matches by date, find the edges of buckets, write the innings.

An innings is an example of 21 chunks. A training innings is a group of copies, each a puzzle; copies
differ in the players whose histories are unknown.

Shapes: M innings, P players of a side, C * S tokens of an innings.
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from hrm_core.data.sources import escaped
from hrm_core.data.writer import Examples, Layout, refuse_used, write_dataset
from hrm_core.draws import Purpose, stream
from hrm_core.errors import DataError
from hrm_core.messages import cut, first_few
from hrm_core.tasks.building import Built, Watch, unwatched
from hrm_tasks.cricket.alphabet import PAD, find_edges
from hrm_tasks.cricket.ballfile import FILE as BALLS_FILE
from hrm_tasks.cricket.ballfile import ball_rows, write_balls
from hrm_tasks.cricket.context import Played, play
from hrm_tasks.cricket.history import histories
from hrm_tasks.cricket.knowledge import FILE, learn
from hrm_tasks.cricket.layout import PREFIX_LEN, SEQ_LEN, Places, place_balls, write_rows
from hrm_tasks.cricket.options import Options
from hrm_tasks.cricket.read import OUTCOMES, Match, Source, read_source
from hrm_tasks.cricket.scoreboard import MAX_PLAYERS, BoolArray, IntArray, State, taken
from hrm_tasks.cricket.task import Cricket

SET = "all"


class _Matches(NamedTuple):
    """The matches of a data set, in order of their dates."""

    train: list[Match]
    test: list[Match]
    skipped: dict[str, str]

    @property
    def all(self) -> list[Match]:
        """Return training matches, then test matches."""
        return self.train + self.test


def build(out: Path, options: Options, watch: Watch = unwatched) -> Built:
    """Build a data set of Twenty20 cricket, ball by ball, from the JSON files of Cricsheet.

    \b
    Examples:
        hrm data cricket data/t20 --matches t20s_json.zip --validate-from 2021-01-01
        hrm data cricket data/t20 --matches ipl_json
    """
    refuse_used(out)
    source = read_source(options.matches)
    matches = _chosen(source, options)
    record = _write(out, source, matches, options)
    return Built(record, _summary(record), tuple(_remarks(record)))


def _chosen(source: Source, options: Options) -> _Matches:
    """Split the matches by date and leave out those that are not over.

    Raises: DataError if there is nothing to train on, or nothing to test on though a date is given.
    """
    skipped = dict(source.skipped)
    for match in source.matches:
        if not match.is_over:
            skipped[match.name] = "not over yet"
    finished = [match for match in source.matches if match.is_over]
    date = options.validate_from
    train = [match for match in finished if date is None or match.date < date]
    test = [match for match in finished if date is not None and match.date >= date]
    if not finished:
        name, why = next(iter(skipped.items()))
        raise DataError(f"{source.path}: no match to learn from; match {name}: {why}")
    for part, kind in ((train, "before"), (test, "from")):
        if not part and (kind == "before" or date is not None):
            raise DataError(
                f"{source.path}: no match is {kind} {date}; they are from {finished[0].date} to "
                f"{finished[-1].date}, choose another --validate-from"
            )
    return _Matches(train, test, dict(sorted(skipped.items())))


def _write(out: Path, source: Source, matches: _Matches, options: Options) -> dict[str, Any]:
    """Write the data set. Returns: its build.json."""
    counts = _counts(matches.train)
    shares = (counts + 1) / (counts + 1).sum()
    batters, bowlers = histories(matches.all, shares)
    played = play(matches.all, batters, bowlers)
    places = place_balls(played, [match.name for match in matches.all])
    is_train = played.match < len(matches.train)
    train, train_places = played.select(is_train), Places(*(each[is_train] for each in places))
    edges = find_edges(_starts(train, train_places))
    knowledge = learn(matches.train, train)
    task = Cricket(edges, knowledge.sha256)
    record = {
        "task": task.name,
        "task_settings": dict(task.settings),
        "source": {"name": escaped(source.path.resolve().name), "sha256": source.sha256},
        "validate_from": options.validate_from,
        "copies": options.copies,
        "forget": options.forget,
        "blank": options.blank,
        "seed": options.seed,
        **_described(matches, played),
    }
    parts = {"train": ball_rows(train)}
    blocks = {"train": {SET: _training(train, train_places, edges, options)}}
    if matches.test:
        test, test_places = played.select(~is_train), Places(*(each[~is_train] for each in places))
        parts["test"] = ball_rows(test)
        blocks["test"] = {SET: iter([_examples(*write_rows(test, test_places, edges))])}
    layout = Layout(
        task.vocab_size, task.seq_len, PAD, ignore_label_id=PAD, num_chunks=task.num_chunks
    )
    files = {FILE: knowledge.to_text(), BALLS_FILE: write_balls(parts)}
    return write_dataset(out, layout, blocks, record, files)


def _training(
    played: Played, places: Places, edges: Mapping[str, list[float]], options: Options
) -> Iterator[Examples]:
    """Yield training innings in blocks of one group each: an innings and its copies.

    The first copy has all histories.
    """
    rng = stream(options.seed, Purpose.AUGMENTATION)
    shape = options.copies, 2, len(played.match), MAX_PLAYERS
    forgotten: BoolArray = rng.random(shape) < options.forget
    forgotten[0] = False
    copies = []
    for number, mask in enumerate(forgotten):
        inputs, labels = write_rows(played, places, edges, (mask[0], mask[1]))
        if number:
            _blank(inputs, options.blank, rng)
        copies.append((inputs, labels))
    inputs = np.stack([each[0] for each in copies], axis=1)  # (M, copies, C * S)
    labels = np.stack([each[1] for each in copies], axis=1)
    for own_inputs, own_labels in zip(inputs, labels, strict=True):
        examples = _examples(own_inputs, own_labels)
        yield Examples(
            examples.inputs,
            examples.labels,
            group_sizes=np.array([options.copies]),
            prefix_len=examples.prefix_len,
        )


def _blank(inputs: IntArray, share: float, rng: np.random.Generator) -> None:
    """Replace a share of the tokens of each prefix by padding. Shapes: (M, C * S)."""
    prefixes = inputs.reshape(-1, SEQ_LEN)[:, :PREFIX_LEN]
    prefixes[rng.random(prefixes.shape) < share] = PAD


def _examples(inputs: Any, labels: Any) -> Examples:
    """Return rows as examples that are puzzles and groups of their own."""
    return Examples(inputs, labels, prefix_len=np.full(len(inputs), PREFIX_LEN, np.int32))


def _starts(played: Played, places: Places) -> State:
    """Return the state at the start of each chunk. Shapes: (N,)."""
    is_first = (places.slot == 0) & played.bowled
    return taken(played.state, is_first)


def _counts(matches: Sequence[Match]) -> np.ndarray[Any, np.dtype[np.float64]]:
    """Count the outcomes of all balls. Returns: (K,)."""
    counts = np.zeros(len(OUTCOMES))
    for match in matches:
        for innings in match.innings:
            for ball in innings.deliveries:
                counts[ball.outcome] += 1
    return counts


def _described(matches: _Matches, played: Played) -> dict[str, Any]:
    """Return what build.json says of the matches."""
    longest, where = _longest_over(matches.all)
    reasons = Counter(matches.skipped.values())
    alphabet = _counts(matches.all).astype(int)
    return {
        "train_matches": len(matches.train),
        "test_matches": len(matches.test),
        "train_innings": sum(len(match.innings) for match in matches.train),
        "test_innings": sum(len(match.innings) for match in matches.test),
        "train_balls": int(_counts(matches.train).sum()),
        "test_balls": int(_counts(matches.test).sum()),
        "dates": [matches.all[0].date, matches.all[-1].date],
        "outcomes": dict(zip(OUTCOMES, alphabet.tolist(), strict=True)),
        "longest_over": longest,
        "longest_over_in": where,
        "skipped": matches.skipped,
        "skipped_reasons": dict(reasons),
    }


def _longest_over(matches: Sequence[Match]) -> tuple[int, str]:
    """Return the most deliveries in an over, and where it is."""
    longest, where = 0, ""
    for match in matches:
        for number, innings in enumerate(match.innings, start=1):
            for over in innings.overs:
                if len(over.deliveries) > longest:
                    longest = len(over.deliveries)
                    where = f"match {match.name}, innings {number}, over {over.number + 1}"
    return longest, where


def _summary(record: Mapping[str, Any]) -> str:
    """Describe a data set in one line."""
    outcomes = ", ".join(f"{name} {count:,}" for name, count in record["outcomes"].items())
    return (
        f"{record['train_matches']:,} training matches of {record['train_balls']:,} balls, "
        f"{record['test_matches']:,} test matches of {record['test_balls']:,} balls, "
        f"{record['dates'][0]} to {record['dates'][1]}; outcomes: {outcomes}; "
        f"longest over: {record['longest_over']} balls ({record['longest_over_in']}); "
        f"skipped: {len(record['skipped']):,}"
    )


def _remarks(record: Mapping[str, Any]) -> list[str]:
    """Return a sentence for each reason why matches were left out."""
    remarks = []
    for reason, count in record["skipped_reasons"].items():
        names = [name for name, why in record["skipped"].items() if why == reason]
        remarks.append(f"{count:,} matches skipped ({first_few(names)}): {cut(reason, 120)}")
    return remarks
