"""The runs of a training study: every combination of methods, varied settings and seeds."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product

from flowtracer.credit.rules import parse_rules


@dataclass(frozen=True)
class Variant:
    """One method with its settings; it is run once per seed."""

    method: str
    settings: tuple[tuple[str, str], ...] = ()

    @property
    def name(self) -> str:
        """Also the name of its folders."""
        return "-".join([self.method, *(f"{key}={value}" for key, value in self.settings)])

    @property
    def overrides(self) -> list[str]:
        """Command-line options of `flowtracer train`."""
        options = ["--method", self.method]
        for key, value in self.settings:
            options += [f"--{key}", value]
        return options


def variants(methods: Sequence[str], vary: Sequence[str]) -> list[Variant]:
    """Every method with every combination of the varied settings; plain GRPO once.

    methods: "grpo", a scorer, or a rule such as "flow@end=bottom,emphasis=3" (see `parse_rules`).
    vary: such as "emphasis=1.2,1.5,2"; settings that plain GRPO does not have are not varied there.

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
    result = []
    for method in methods:
        if method == "grpo":
            result.append(Variant(method))
            continue
        for rule in parse_rules([method]):
            result += [Variant(rule.scorer, rule.settings + more) for more in product(*choices)]
    return result
