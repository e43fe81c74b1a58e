"""Credit for a batch: scores, selection and weights put together.

Nothing about one odd response raises here: a response that cannot be scored has weight 1 everywhere
and is counted.
"""

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from flowtracer.attention import model_layers
from flowtracer.credit.chunks import chunks
from flowtracer.credit.limits import forward_limits
from flowtracer.credit.selection import Selection, select
from flowtracer.credit.weighting import Weighting, weigh
from flowtracer.models import unsloth
from flowtracer.models.layer_kinds import warn_of_unseen
from flowtracer.models.pictures import lacking_pictures, picture_tokens
from flowtracer.regions import AnswerRule, find_answer
from flowtracer.regions.prompts import Question
from flowtracer.scorers import ScoreOptions, score_tokens
from flowtracer.scorers.batch import ScoreBatch
from flowtracer.scorers.scorer import check_choice
from flowtracer.scorers.table import find_scorer

if TYPE_CHECKING:
    from flowtracer.credit.calibrated import Calibrated

CONCENTRATION_RATIO = 0.2  # our choice


@dataclass(frozen=True)
class Credit:
    """Which tokens of a response get how much of its advantage; the defaults are the paper's.

    scorer: a name in `SCORERS`. selection, weighting: the top 40% by 1.5 (section 3.3). options:
        of the scorer; its layers, edges and heads define the graph; every graph of
        docs/evidence.md can be used in training.
    answer: where the answer is (see `find_answer`), "auto" (our choice; the paper's tasks ask for a
        box, section 5.2); a function may return several weighted spans.
    steps: process rewards, a function from the response to (start, stop, score) spans; a token's
        weight is multiplied by its step's score, also in a response without an answer.
    question: as in `trace` (our choice).
    rule: `Calibrated(...)` instead of scorer, selection, weighting and options: TRL's trainer then
        measures which rule is better than uniform weights, and uses these unless one is.
    """

    scorer: str = "flow"
    selection: Selection = field(default_factory=Selection)
    weighting: Weighting = field(default_factory=Weighting)
    options: ScoreOptions = field(default_factory=ScoreOptions)
    answer: AnswerRule = "auto"
    steps: Callable[[str], object] | None = None
    question: Question = "prompt"
    rule: "Calibrated | None" = None

    def __post_init__(self) -> None:
        find_scorer(self.scorer, side="response")
        if isinstance(self.answer, str):
            find_answer("", self.answer)  # refuses an unknown rule
        check_choice("question", self.question, Question)
        plain = (self.scorer, self.selection, self.weighting, self.options, self.steps)
        if self.rule is not None and plain != (
            "flow", Selection(), Weighting(), ScoreOptions(), None,
        ):  # fmt: skip
            raise ValueError(
                "rule is in the place of scorer, selection, weighting, options and steps; name them in "
                "Calibrated(rules=...) as 'SCORER@OPTION=VALUE'"
            )

    @property
    def neutral(self) -> bool:
        """Whether every weight is 1 whatever the response."""
        return self.weighting.neutral and self.steps is None

    def candidates(self) -> "dict[str, Credit]":
        """The rules that a calibrated credit chooses from, by name."""
        if self.rule is None:
            return {}
        credits = self.rule.credits(self.answer)
        return {name: replace(credit, question=self.question) for name, credit in credits.items()}

    @property
    def needs_structure(self) -> bool:
        """Whether it has to know which tokens are delimiters."""
        own = self.scorer == "delimiters" or self.selection.among != "all"
        return own or any(credit.needs_structure for credit in self.candidates().values())

    def check_model(self, model: nn.Module) -> None:
        """Raise ValueError for layers that the model does not have, or if it cannot be read.

        Warns of a hybrid model, of which a part is not seen.
        """
        warn_of_unseen(model)
        for credit in self.candidates().values():
            credit.check_model(model)
        unsloth.check_model(model)
        model_layers(model, self.options.layers)
        in_parts = any(hasattr(parameter, "ds_id") for parameter in model.parameters())
        if self.options.edges == "value" and in_parts:
            raise ValueError(
                "edges 'value' reads the output projections, of which ZeRO-3 holds a part in each "
                "process; use edges 'mean' or 'no-sink'"
            )

    def check_token_ids(self) -> None:
        """Raise ValueError if token ids, without their conversation, are not enough."""
        if self.question != "prompt":
            raise ValueError(
                f"question is {self.question!r}, but token ids do not say what the user wrote; "
                "use 'prompt'"
            )


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
    row_mask: Tensor | None = None,
    all_reduce_max: Callable[[int], int] = lambda forwards: forwards,
    chunk: int | None = None,
    share_prompts: bool = True,
) -> TokenCredit:
    """Weight of every token, 1 on padding, prompt, tool output and responses without an answer.

    Args:
        row_mask: (B,) bool, rows to score; a row of zero advantage need not be.
        all_reduce_max: maps the number of forwards of this process to the maximum over all processes;
            missing ones run on two tokens, so that the calls of a sharded model match.
        chunk: entries of (rows, T, T) in one forward; None: `CHUNK`, or what suits a GPU.
        share_prompts: whether a prompt that several rows share may run once for all of them.
    """
    if credit.rule is not None:
        raise ValueError("Credit(rule=...) is chosen while a TRL trainer runs; name one rule here")
    scores = token_scores(
        model,
        batch,
        [credit.scorer],
        credit.options,
        row_mask=row_mask,
        all_reduce_max=all_reduce_max,
        chunk=chunk,
        share_prompts=share_prompts,
    )
    return credit_of_scores(scores[credit.scorer], batch, credit, row_mask=row_mask)


def token_credits(
    model: nn.Module, batch: ScoreBatch, credits: Sequence[Credit], *, row_mask: Tensor
) -> list[TokenCredit]:
    """`token_credit` of several rules; those that read the same graph share its forward passes.

    For a model in one process. The rules share the batch, and so its answers and questions.
    """
    names: dict[ScoreOptions, list[str]] = {}
    for credit in credits:
        names.setdefault(credit.options, []).append(credit.scorer)
    scores = {
        options: token_scores(model, batch, sorted(set(of)), options, row_mask=row_mask)
        for options, of in names.items()
    }
    return [
        credit_of_scores(scores[credit.options][credit.scorer], batch, credit, row_mask=row_mask)
        for credit in credits
    ]


def token_scores(
    model: nn.Module,
    batch: ScoreBatch,
    names: Sequence[str],
    options: ScoreOptions,
    *,
    row_mask: Tensor | None = None,
    all_reduce_max: Callable[[int], int] = lambda forwards: forwards,
    chunk: int | None = None,
    share_prompts: bool = True,
) -> dict[str, Tensor]:
    """Scores by name, (B, T) float32, 0 in rows that are not scored; arguments as in `token_credit`."""
    rows = batch.scorable if row_mask is None else batch.scorable & row_mask
    scorers = [find_scorer(name) for name in names]
    attention_only = all(scorer.needs == {"attention"} for scorer in scorers)
    pictures = batch.model_inputs is not None
    limits = forward_limits(
        model,
        attention_only=attention_only,
        chunk=chunk,
        share_prompts=share_prompts and not pictures,
    )
    if picture_tokens(model):
        rows = rows & ~_unpictured(model, batch)
    parts = chunks(
        batch,
        rows.nonzero()[:, 0],
        # Pictures in a tool's output may follow the answer, and have to be complete.
        after_answer=pictures or any(scorer.after_answer for scorer in scorers),
        most=limits.most,
        tokens=limits.tokens,
        share_from=limits.share_from,
    )
    # Before the first forward, or processes wait for each other.
    total = all_reduce_max(len(parts))
    empty = torch.zeros(batch.input_ids.shape, dtype=torch.float32, device=batch.input_ids.device)
    scores = {name: empty.clone() for name in names}
    for part in parts:
        taken = batch.take(part.rows, part.columns)
        by_name = score_tokens(model, taken, names, options=options, shared=part.shared)
        for name, values in by_name.items():
            scores[name][part.rows, part.columns] = values.to(empty)
    for _ in range(len(parts), total):
        score_tokens(model, _smallest(empty.device), names, options=options)
    return scores


def credit_of_scores(
    scores: Tensor, batch: ScoreBatch, credit: Credit, *, row_mask: Tensor | None = None
) -> TokenCredit:
    """Selection and weights of scores that are known, (B, T); see `token_credit`."""
    answered = batch.scorable
    rows = answered if row_mask is None else answered & row_mask
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
    scores = torch.where(candidates, scores, 0.0)
    top = select(scores, candidates, Selection(ratio=CONCENTRATION_RATIO))
    return (scores * top).sum(1) / scores.sum(1).clamp(min=torch.finfo(scores.dtype).tiny)


def _unpictured(model: nn.Module, batch: ScoreBatch) -> Tensor:
    """Rows with tokens that stand for pictures which are not there, (B,) bool; warned of."""
    real_ids = batch.input_ids.where(batch.attention_mask > 0, -1)
    missing = lacking_pictures(model, real_ids, batch.model_inputs)
    if bool(missing.any()):
        warnings.warn(
            f"{int(missing.sum())} responses have tokens that stand for pictures which are not in "
            "`model_inputs`; they get no credit",
            stacklevel=4,
        )
    return missing


def _smallest(device: torch.device) -> ScoreBatch:
    """Two tokens that any scorer can score."""
    ids = torch.zeros(1, 2, dtype=torch.long, device=device)
    first = torch.tensor([[True, False]], device=device)
    return ScoreBatch(ids, torch.ones_like(ids), first, ~first, (~first).float(), first)
