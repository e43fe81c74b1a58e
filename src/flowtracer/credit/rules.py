"""A credit rule as one word, and grids of them: what `study gradient` and `study training` compare.

flow    flow@end=bottom,emphasis=3    random@seed=1    flow@emphasis=0.5/1.5/3
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from itertools import product
from typing import Any

from flowtracer.credit import Credit
from flowtracer.credit.arguments import CreditArguments
from flowtracer.credit.weighting import UNIFORM

PLAIN = ("grpo", UNIFORM)  # what trainers and rules call weights of 1
_KINDS: dict[str, type] = {
    field.name: type(getattr(CreditArguments(), field.name)) for field in fields(CreditArguments)
}


@dataclass(frozen=True)
class Rule:
    """One way to weigh tokens. settings: options of `CreditArguments` beside the scorer, as written."""

    name: str
    scorer: str
    settings: tuple[tuple[str, str], ...] = ()

    def credit(self, *, answer: str) -> Credit | None:
        """As a `Credit`; None for uniform weights. answer: the task's rule, if the rule names none.

        Raises ValueError for a wrong value.
        """
        if self.scorer == UNIFORM:
            return None
        values: dict[str, Any] = {"scorer": self.scorer, "answer": answer}
        values |= {name: _value(self.name, name, text) for name, text in self.settings}
        try:
            return CreditArguments(**values).credit()
        except ValueError as error:
            raise ValueError(f"rule {self.name!r}: {error}") from None


def parse_rules(texts: Sequence[str]) -> list[Rule]:
    """Read SCORER[@OPTION=VALUE,...] or "uniform"; a value such as 0.5/1.5/3 makes a rule of each.

    Options are those of `CreditArguments`. The rules are checked. Raises ValueError for
    what is unknown and for a rule named twice.
    """
    rules: list[Rule] = []
    for text in texts:
        scorer, _, rest = text.strip().partition("@")
        choices: list[list[tuple[str, str]]] = []
        for setting in filter(None, rest.split(",")):
            name, _, values = setting.partition("=")
            if name not in _KINDS or name == "scorer" or not values:
                known = ", ".join(name for name in _KINDS if name != "scorer")
                raise ValueError(
                    f"rule {text!r}: {setting!r} is unknown; use OPTION=VALUE of {known}"
                )
            choices.append([(name, value) for value in values.split("/")])
        if scorer == UNIFORM and choices:
            raise ValueError(f"rule {text!r}: uniform weights have no options")
        for settings in product(*choices):
            written = ",".join(f"{name}={value}" for name, value in settings)
            rules.append(Rule("@".join(filter(None, [scorer, written])), scorer, tuple(settings)))
    names = [rule.name for rule in rules]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise ValueError(f"rule {twice!r} is named twice; name each once")
    for rule in rules:
        rule.credit(answer="auto")
    return rules


def _value(rule: str, name: str, text: str) -> Any:
    """An option's value by the type of its default."""
    kind = _KINDS[name]
    words: Mapping[str, bool] = {"yes": True, "true": True, "no": False, "false": False}
    try:
        if kind is bool:
            return words[text.lower()]
        return kind(text) if kind in (int, float) else int(text) if name == "tile_above" else text
    except (ValueError, KeyError):
        wanted = {bool: "yes or no", int: "a whole number", float: "a number"}.get(kind, "a number")
        raise ValueError(f"rule {rule!r}: {name} is {text!r}; it must be {wanted}") from None
