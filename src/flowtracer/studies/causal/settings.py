"""The settings of a causal study."""

from dataclasses import dataclass
from typing import Literal

from flowtracer.scorers.scorer import Side, check_choice
from flowtracer.studies.resume import SolutionStudy
from flowtracer.studies.scorer_choices import parse_scorers

SCORERS = ("flow", "flow@end=bottom", "random@seed=0", "random@seed=1", "random@seed=2")  # ours
EXCLUDED = 10  # our choice: tokens such as `\boxed{`, without which there is no answer to read
Knocked = Literal["response", "prompt", "user"]


@dataclass(frozen=True)
class CausalStudy(SolutionStudy):
    """What is knocked out, and what is regenerated.

    ratios: of the tokens that may be knocked out; 20%, table 1 of the paper. cuts: where protocol "rest"
    cuts, of the way to the answer; half-way, our choice. excluded: last tokens before the answer or the
    cut, or of the prompt, that are never knocked out; without any number, 10 where they are in front of
    the answer, else 0. side: whose tokens can be knocked out: the response's (the paper's), the entire
    prompt's, or those of it that the user wrote. regenerate: False measures only the drop in
    log-probability, of the answer or of all from the cut to the answer's end. batch: problems whose new
    texts are generated together, our choice.
    """

    scorers: tuple[str, ...] = SCORERS
    ratios: tuple[float, ...] = (0.2,)
    protocol: str = "answer"
    cuts: tuple[float, ...] = (0.5,)
    excluded: tuple[int, ...] = ()
    regenerate: bool = True
    batch: int = 4
    side: Knocked = "response"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.protocol not in ("answer", "rest"):
            raise ValueError(f"protocol is {self.protocol!r}; use answer or rest")
        if not self.ratios or not all(0 < ratio <= 1 for ratio in self.ratios):
            raise ValueError("ratios must be above 0 and at most 1")
        if not self.cuts or not all(0 <= cut <= 1 for cut in self.cuts):
            raise ValueError("cuts must be from 0 to 1")
        if self.side == "response" and 0 in self.cuts:
            raise ValueError("cut 0 leaves no token of the response to knock out; use one above 0")
        if not self.excluded:
            before_answer = self.protocol == "answer" and self.side == "response"
            object.__setattr__(self, "excluded", (EXCLUDED if before_answer else 0,))
        if any(count < 0 for count in self.excluded):
            raise ValueError("excluded is a number of tokens, 0 or more")
        if self.batch < 1:
            raise ValueError("batch must be at least 1")
        check_choice("side", self.side, Knocked)
        parse_scorers(self.scorers, side=self.scored_side)

    @property
    def scored_side(self) -> Side:
        """Whose tokens the scorers have to score."""
        return "response" if self.side == "response" else "prompt"
