"""The settings of a causal study."""

from dataclasses import dataclass

from flowtracer.studies.resume import SolutionStudy
from flowtracer.studies.scorer_choices import parse_scorers

SCORERS = ("flow", "flow@end=bottom", "random@seed=0", "random@seed=1", "random@seed=2")  # ours


@dataclass(frozen=True)
class CausalStudy(SolutionStudy):
    """What is knocked out, and what is regenerated.

    ratios: of the tokens that may be knocked out; 20%, table 1 of the paper. cuts: where protocol "rest"
    cuts, of the way to the answer; half-way, our choice. excluded: last tokens before the answer or the
    cut that are never knocked out. regenerate: False measures only the drop in log-probability, protocol
    "answer". batch: problems whose new texts are generated together, our choice.
    """

    scorers: tuple[str, ...] = SCORERS
    ratios: tuple[float, ...] = (0.2,)
    protocol: str = "answer"
    cuts: tuple[float, ...] = (0.5,)
    excluded: tuple[int, ...] = (0,)
    regenerate: bool = True
    batch: int = 4

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.protocol not in ("answer", "rest"):
            raise ValueError(f"protocol is {self.protocol!r}; use answer or rest")
        if self.protocol == "rest" and not self.regenerate:
            raise ValueError("protocol 'rest' is about what is generated; leave regenerate on")
        for name in ("ratios", "cuts"):
            values = getattr(self, name)
            if not values or not all(0 < value <= 1 for value in values):
                raise ValueError(f"{name} must be above 0 and at most 1")
        if not self.excluded or any(count < 0 for count in self.excluded):
            raise ValueError("excluded is a number of tokens, 0 or more")
        if self.batch < 1:
            raise ValueError("batch must be at least 1")
        parse_scorers(self.scorers)
