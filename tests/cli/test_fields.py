"""Options of a made-up builder as click shows, reads and refuses them."""

from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, Self

import click
import pytest
from click.testing import CliRunner
from hrm_cli.fields import chosen, parameters
from pydantic import Field, PositiveInt, model_validator

from hrm_core.tasks import building
from hrm_core.tasks.building import Argument, Count, Flag, Seed, Subsample

HELP = """\
Usage: made-up [OPTIONS] SOURCE [PATH]...

Options:
  --side N              Side of a square.  [2<=x<=9]
  --part PART           Part of them. [default: 0.1]  [0<=x<1]
  --weight FLOAT        Any number.
  --letters TEXT        Letters of a square.
  --kind [plain|magic]  Kind of a square.
  --base [2|10]         Base of the digits.
  --range LEAST MOST    Two.  [x>=1]
  --rules-csv FILE      A file.
  --add PATH...         Several may follow.
  --even INTEGER        An even number.
  --quick               Do it quickly.
  --wide / --no-wide    Take all of it.
  --subsample N         Choose N training squares at random.  [x>=1]
  --seed INTEGER RANGE  Seed of all random draws.  [default: 0; 0<=x<=4294967295]
  --help                Show this message and exit.
"""


class Options(building.Options):
    things: ClassVar[str] = "squares"

    source: Annotated[Path, Argument()]
    more: Annotated[tuple[Path, ...], Argument(metavar="[PATH]...")] = ()
    side: Annotated[int, Field(ge=2, le=9), Flag("Side of a square.", metavar="N")] = 4
    part: Annotated[
        float, Field(ge=0, lt=1), Flag("Part of them. [default: 0.1]", metavar="PART")
    ] = 0.1
    weight: Annotated[float | None, Flag("Any number.")] = None
    letters: Annotated[str, Flag("Letters of a square.")] = "abcd"
    kind: Annotated[Literal["plain", "magic"], Flag("Kind of a square.")] = "plain"
    base: Annotated[Literal[2, 10], Flag("Base of the digits.")] = 10
    range: Annotated[tuple[Count, PositiveInt] | None, Flag("Two.", metavar="LEAST MOST")] = None
    rules_csv: Annotated[Path | None, Flag("A file.", is_file=True)] = None
    add: Annotated[tuple[Path, ...], Flag("Several may follow.", metavar="PATH...")] = ()
    even: Annotated[int, Field(multiple_of=2), Flag("An even number.")] = 0
    quick: Annotated[bool, Flag("Do it quickly.")] = False
    wide: Annotated[bool, Flag("Take all of it.")] = True
    subsample: Subsample = None
    seed: Seed = 0

    @model_validator(mode="after")
    def _quick_is_plain(self) -> Self:
        if self.quick and self.kind != "plain":
            raise ValueError("--quick goes with --kind plain; leave one out")
        return self


def read(*arguments: str) -> Options:
    """Options of a command line."""
    command = click.Command("made-up", params=parameters(Options))
    context = command.make_context("made-up", list(arguments))
    return chosen(Options, context)


def test_help_shows_ranges_choices_and_defaults_that_are_to_be_shown() -> None:
    command = click.Command(
        "made-up", params=parameters(Options), context_settings={"terminal_width": 100}
    )
    assert CliRunner().invoke(command, ["--help"]).output == HELP


def test_a_flag_that_is_on_can_be_turned_off() -> None:
    assert read("a").wide
    assert read("a", "--wide").wide
    assert not read("a", "--no-wide").wide


def test_what_is_typed_has_the_types_of_the_fields() -> None:
    typed = "a b c --side 3 --part .5 --weight 2 --letters xy --kind magic --base 2 --range 1 2"
    more = "--rules-csv r.csv --add d --add e --even 4 --subsample 7 --seed 9"
    assert read(*typed.split(), *more.split()) == Options(
        source=Path("a"),
        more=(Path("b"), Path("c")),
        side=3,
        part=0.5,
        weight=2.0,
        letters="xy",
        kind="magic",
        base=2,
        range=(1, 2),
        rules_csv=Path("r.csv"),
        add=(Path("d"), Path("e")),
        even=4,
        subsample=7,
        seed=9,
    )
    assert read("a", "--quick").quick


def test_what_is_not_typed_keeps_its_default_and_is_not_given() -> None:
    options = read("a", "--side", "4")
    assert options == Options(source=Path("a"))
    assert options.given("seed", "side")
    assert not options.given("seed", "add", "subsample")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "Missing argument 'SOURCE'."),
        (["a", "--side", "1"], "Invalid value for '--side': 1 is not in the range 2<=x<=9."),
        (["a", "--part", "1"], "Invalid value for '--part': 1.0 is not in the range 0<=x<1."),
        (["a", "--range", "1"], "Option '--range' requires 2 arguments."),
        (["a", "--range", "0", "1"], "Invalid value for '--range': 0 is not in the range x>=1."),
        (["a", "--base", "3"], "Invalid value for '--base': '3' is not one of '2', '10'."),
        (["a", "--add", ""], "Invalid value for '--add': it is empty; expected a path"),
        ([""], "Invalid value for 'SOURCE': it is empty; expected a path"),
        (["a", "--rules-csv", "."], "Invalid value for '--rules-csv': File '.' is a directory."),
        (["a", "--even", "3"], "Invalid value for '--even': Input should be a multiple of 2"),
        (["a", "--quick", "--kind", "magic"], "--quick goes with --kind plain; leave one out"),
    ],
)
def test_mistakes_are_refused_in_the_words_of_click_or_of_the_task(
    arguments: list[str], message: str
) -> None:
    with pytest.raises(click.UsageError) as refused:
        read(*arguments)
    assert refused.value.format_message() == message


def test_a_type_that_no_command_line_can_hold_is_refused() -> None:
    class Odd(building.Options):
        table: Annotated[dict[str, Any], Flag("A table.")]

    with pytest.raises(TypeError, match=r"Odd\.table: dict\[str, typing.Any\] is no type"):
        parameters(Odd)
