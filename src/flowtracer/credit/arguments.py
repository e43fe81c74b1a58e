"""The options of `Credit` as flat names: the same on the command line, in TRL's arguments and in verl.

Importing this loads nothing heavy, so that the command line can print its help at once.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Any

from flowtracer.regions.answers import ANSWER_RULES

if TYPE_CHECKING:
    from flowtracer.credit.credit import Credit


def option(default: Any, text: str) -> Any:
    """A field of a dataclass with a default and a help text."""
    return field(default=default, metadata={"help": text})


@dataclass(frozen=True)
class CreditArguments:
    """Which tokens get how much credit; the defaults are those of `Credit`, which explains them."""

    scorer: str = option("flow", "flow, or another scorer of docs/training.md.")
    by: str = option("ratio", "Choose by ratio (of the tokens) or by mass (of the score).")
    ratio: float = option(0.4, "Ratio of the tokens, or of the score, that is chosen.")
    end: str = option("top", "End of the ranking that is chosen: top or bottom.")
    among: str = option("all", "Tokens to choose among: all, structural (delimiters) or semantic.")
    weighting: str = option("emphasis", "emphasis, raw, tanh, sigmoid, mad or log1p.")
    emphasis: float = option(1.5, "Weight of chosen tokens.")
    normalise: bool = option(False, "Divide weights by their mean over each response.")
    layers: str = option("middle", "early, middle, late, all, or such as 15-25.")
    edges: str = option("mean", "What an edge of the graph weighs: mean, no-sink or value.")
    heads: str = option("all", "Heads that are averaged: all, or the near, middle or far third.")
    answer: str = option(
        "auto", f"Where the answer is: {', '.join(ANSWER_RULES)} or regex:PATTERN."
    )
    answer_tokens: str = option("absorb", "What answer tokens do with flow: absorb, or relay.")
    question: str = option("prompt", "Where flow enters: prompt, or user (the user's messages).")
    seed: int = option(0, "Seed of random scores.")
    tile_above: int | None = option(
        None, "Tokens beyond which attention is read in tiles; default: by free memory."
    )

    def credit(self) -> "Credit":
        """These settings as a `Credit`. Raises ValueError, in one sentence, for a wrong one."""
        from flowtracer.credit.credit import Credit
        from flowtracer.credit.selection import Selection
        from flowtracer.credit.weighting import Weighting
        from flowtracer.scorers.scorer import ScoreOptions

        _check_types(self)
        named: Any = self  # names of choices, which the classes below check
        return Credit(
            scorer=named.scorer,
            selection=Selection(named.by, named.ratio, named.end, named.among),
            weighting=Weighting(named.weighting, named.emphasis, named.normalise),
            options=ScoreOptions(
                layers=named.layers,
                answer_tokens=named.answer_tokens,
                seed=named.seed,
                edges=named.edges,
                heads=named.heads,
                tile_above=named.tile_above,
            ),
            answer=named.answer,
            question=named.question,
        )


def read_credit(options: Mapping[str, Any], *, key: str, page: str) -> "Credit":
    """The credit of options by name, as a framework's settings have them.

    key: where they are, page: which page of the documentation lists them, both for the error.

    Raises ValueError, in one sentence, for an unknown name or a wrong value.
    """
    try:
        return CreditArguments(**options).credit()
    except TypeError as error:  # an unknown name
        raise ValueError(f"{key}: {error}; {page} has the names") from error


def _check_types(arguments: CreditArguments) -> None:
    """Raise ValueError for a value of another type, such as the text "no" for a flag, which is true."""
    kinds: dict[type, tuple[set[type], str]] = {
        str: ({str}, "a text"),
        bool: ({bool}, "true or false"),
        float: ({float, int}, "a number"),
        int: ({int}, "a whole number"),
        type(None): ({int, type(None)}, "a whole number"),  # tile_above
    }
    for option_field in fields(CreditArguments):
        value = getattr(arguments, option_field.name)
        types, words = kinds[type(option_field.default)]
        # An answer may be a function.
        if option_field.name != "answer" and type(value) not in types:
            raise ValueError(f"{option_field.name} is {value!r}; it must be {words}")
