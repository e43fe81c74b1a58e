"""The runs of a training study: every combination of methods, varied settings and seeds."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product

from flowtracer.credit import Credit
from flowtracer.credit.rules import PLAIN, Rule, parse_rules

# Methods with settings of their own, and what the options of `flowtracer train` for them begin with.
OWN_SETTINGS = {"value": "value_", "calibrated": "calibrated_"}

Settings = tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Variant:
    """One method with its settings; it is run once per seed."""

    method: str
    settings: Settings = ()

    @property
    def name(self) -> str:
        """Also the name of its folders."""
        return "-".join([self.method, *(f"{key}={value}" for key, value in self.settings)])

    @property
    def overrides(self) -> list[str]:
        """Command-line options of `flowtracer train`."""
        options = ["--method", "grpo" if self.method in PLAIN else self.method]
        prefix = OWN_SETTINGS.get(self.method, "")
        for key, value in self.settings:
            options += [f"--{prefix}{key}", value]
        return options

    @property
    def plain(self) -> bool:
        """Whether it is GRPO without credit."""
        return self.method in PLAIN

    def credit(self) -> Credit | None:
        """Its rule as a `Credit`, for comparison with others; None for a method that is not a rule."""
        if self.plain or self.method in OWN_SETTINGS:
            return None
        return Rule(self.name, self.method, self.settings).credit(answer="auto")


def variants(methods: Sequence[str], vary: Sequence[str]) -> list[Variant]:
    """Every method with every combination of the varied settings; methods that are no rules once.

    methods: "grpo" (or "uniform"), a scorer, a rule such as "flow@end=bottom,emphasis=1.5/3" (see
    `parse_rules`), or one of `OWN_SETTINGS` with its own. vary: such as "emphasis=1.2,1.5,2".

    Raises ValueError for no or repeated methods and for a setting that is not KEY=VALUE[,VALUE].
    """
    if not methods or len(set(methods)) != len(methods):
        raise ValueError("a study needs at least one method, each named once")
    choices: list[list[tuple[str, str]]] = []
    for setting in vary:
        key, _, values = setting.partition("=")
        listed = [value.strip() for value in values.split(",") if value.strip()]
        if not key or not listed:
            raise ValueError(f"--vary {setting!r} is not KEY=VALUE,VALUE; such as emphasis=1.2,1.5")
        choices.append([(key.strip(), value) for value in listed])
    result: list[Variant] = []
    for method in methods:
        name, _, settings = method.partition("@")
        if method in PLAIN:
            result.append(Variant(method))
        elif name in OWN_SETTINGS:
            result += [Variant(name, chosen) for chosen in _grid(method, settings)]
        else:
            for rule in parse_rules([method]):
                result += [Variant(rule.scorer, rule.settings + more) for more in product(*choices)]
    names = [variant.name for variant in result]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice or sum(variant.plain for variant in result) > 1:
        raise ValueError(f"method {twice or 'grpo'} is named twice; name each once")
    return result


def _grid(method: str, settings: str) -> list[Settings]:
    """Every combination of "KEY=VALUE/VALUE,..."."""
    choices = []
    for setting in filter(None, settings.split(",")):
        key, _, values = setting.partition("=")
        if not key or not values:
            raise ValueError(f"method {method!r}: {setting!r} is not KEY=VALUE")
        choices.append([(key, value) for value in values.split("/")])
    return list(product(*choices))
