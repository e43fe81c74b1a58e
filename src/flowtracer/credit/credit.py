"""Credit for a batch: scores, selection and weights put together.

Nothing about one odd response raises here: a response that cannot be scored has weight 1 everywhere
and is counted.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal

import torch
from torch import Tensor, nn

from flowtracer.attention.layers import Layers
from flowtracer.attention.shared_prompt import can_share
from flowtracer.credit.chunks import chunks
from flowtracer.credit.selection import Selection, select
from flowtracer.credit.weighting import Weighting, weigh
from flowtracer.flow.answer_flow import AnswerTokens
from flowtracer.regions import AnswerRule, find_answer
from flowtracer.scorers import ScoreOptions, score_tokens
from flowtracer.scorers.batch import ScoreBatch
from flowtracer.scorers.table import find_scorer

CHUNK = 1 << 25  # numbers of (rows, T, T) in one forward, our choice: 128 MiB of attention
CONCENTRATION_RATIO = 0.2  # our choice


@dataclass(frozen=True)
class Credit:
    """Which tokens of a response get how much of its advantage; the defaults are the paper's.

    scorer: a name out of `SCORERS`. selection, weighting: top 40% by 1.5 (section 3.3).
    layers: "middle" (section 3.3). answer: where the answer is (see `find_answer`), "boxed" (5.2); a
    function may give several weighted spans. steps: process rewards, a function from the response to
    (start, stop, score) spans; a token's weight is multiplied by its step's score, also in a response
    without an answer.
    answer_tokens, question: as in `trace`; our choices. seed: of random scores. tile_above: tokens
    beyond which a text's attention is computed in tiles (flow only); None: by free memory.
    """

    scorer: str = "flow"
    selection: Selection = field(default_factory=Selection)
    weighting: Weighting = field(default_factory=Weighting)
    layers: Layers = "middle"
    answer: AnswerRule = "boxed"
    steps: Callable[[str], object] | None = None
    answer_tokens: AnswerTokens = "absorb"
    question: Literal["prompt", "user"] = "prompt"
    seed: int = 0
    tile_above: int | None = None

    def __post_init__(self) -> None:
        find_scorer(self.scorer)
        if isinstance(self.answer, str):
            find_answer("", self.answer)  # refuses an unknown rule
        for name, allowed in (
            ("answer_tokens", ("absorb", "relay")),
            ("question", ("prompt", "user")),
        ):
            if getattr(self, name) not in allowed:
                raise ValueError(
                    f"{name} is {getattr(self, name)!r}; use {' or '.join(map(repr, allowed))}"
                )

    @property
    def neutral(self) -> bool:
        """Whether every weight is 1 whatever the response."""
        return self.weighting.neutral and self.steps is None

    @property
    def needs_structure(self) -> bool:
        """Whether it has to know which tokens are delimiters."""
        return self.scorer == "delimiters" or self.selection.among != "all"


@dataclass(frozen=True)
class TokenCredit:
    """Weights of a batch and what they came from; all (B, T) but `scored` and `answered` (B,)."""

    weights: Tensor  # float32, 1 wherever credit says nothing
    scores: Tensor
    chosen: Tensor  # bool
    answered: Tensor  # bool, responses with an answer and candidates
    scored: Tensor  # bool, responses whose scores are not all 0


def token_credit(
    model: nn.Module,
    batch: ScoreBatch,
    credit: Credit,
    *,
    wanted: Tensor | None = None,
    all_reduce_max: Callable[[int], int] = lambda forwards: forwards,
    chunk: int = CHUNK,
) -> TokenCredit:
    """Weight of every token, 1 on padding, prompt, tool output and responses without an answer.

    Args:
        wanted: (B,) bool, rows worth the work; a row of zero advantage is not.
        all_reduce_max: given the number of forwards this process wants, how many all processes
            make; the others are made on one token, so that a sharded model's calls match.
        chunk: numbers of (rows, T, T) in one forward.
    """
    answered = batch.scorable
    rows = answered if wanted is None else answered & wanted
    scorer = find_scorer(credit.scorer)
    parts = chunks(
        batch,
        rows.nonzero()[:, 0],
        after_answer=scorer.after_answer,
        most=chunk,
        share_prompts=scorer.needs == {"attention"} and can_share(model),
    )
    # Before the first forward, or processes wait for each other.
    total = all_reduce_max(len(parts))
    options = ScoreOptions(
        credit.layers, credit.answer_tokens, credit.seed, tile_above=credit.tile_above
    )
    scores = torch.zeros(batch.input_ids.shape, dtype=torch.float32, device=batch.input_ids.device)
    for part in parts:
        found = score_tokens(
            model,
            batch.take(part.rows, part.columns),
            [credit.scorer],
            options=options,
            shared=part.shared,
        )[credit.scorer]
        scores[part.rows, part.columns] = found.to(scores)
    for _ in range(len(parts), total):
        score_tokens(model, _smallest(scores.device), [credit.scorer], options=options)

    scores = torch.where(batch.candidates, scores, 0.0).nan_to_num(nan=0.0, posinf=0.0).clamp(min=0)
    scored = scores.sum(1) > 0
    eligible = batch.candidates & (rows & scored)[:, None]
    chosen = select(scores, eligible, credit.selection, structural=batch.structural)
    weights = weigh(scores, chosen, eligible, credit.weighting)
    if batch.steps is not None:
        weights = torch.where(batch.candidates, weights * batch.steps.to(weights), weights)
    return TokenCredit(weights, scores, chosen, answered, scored)


def apply_credit(advantages: Tensor, weights: Tensor, mask: Tensor) -> Tensor:
    """Per-token advantages (B, T): `A * w` where the mask is set, `A` elsewhere (equation 5).

    To be applied last, after any whitening or clipping: `min(r w A, clip(r) w A)` is
    `w min(r A, clip(r) A)` for w >= 0, so weighting the advantage weights the loss of the token.

    Shapes: advantages (B,), (B, 1) or (B, T), weights and mask (B, T).
    """
    if advantages.dim() == 1:
        advantages = advantages[:, None]
    return advantages * torch.where(mask.bool(), weights, 1.0).to(advantages)


def concentration(scores: Tensor, candidates: Tensor) -> Tensor:
    """Ratio of a response's score that its top 20% of tokens hold, (B,); 0 where nothing scored."""
    held = torch.where(candidates, scores, 0.0)
    top = select(held, candidates, Selection(ratio=CONCENTRATION_RATIO))
    return (held * top).sum(1) / held.sum(1).clamp(min=torch.finfo(held.dtype).tiny)


def _smallest(device: torch.device) -> ScoreBatch:
    """Two tokens that any scorer can score."""
    ids = torch.zeros(1, 2, dtype=torch.long, device=device)
    first = torch.tensor([[True, False]], device=device)
    return ScoreBatch(ids, torch.ones_like(ids), first, ~first, (~first).float(), first)
