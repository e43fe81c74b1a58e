"""What a study compares: a scorer with its options, written as one word.

flow    flow@end=bottom    flow@layers=early    answer_attention@edges=value    random@seed=2
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, get_args

import torch
from torch import Tensor
from transformers import PreTrainedModel

from flowtracer.attention import model_layers
from flowtracer.attention.mean import Edges
from flowtracer.credit import ScoreBatch, ScoreOptions, Selection, score_batch, score_tokens, select
from flowtracer.regions.prompts import Message
from flowtracer.scorers.scorer import Heads, Side
from flowtracer.scorers.table import DEFAULTS, check_installed, find_scorer
from flowtracer.studies.solutions import Solution, SolutionSet

VALUES: dict[str, tuple[str, ...]] = {
    "edges": get_args(Edges),
    "heads": get_args(Heads),
    "answer_tokens": ("absorb", "relay"),
    "question": ("prompt", "user"),
    "end": ("top", "bottom"),
    "among": ("all", "structural", "semantic"),
    "shuffled": ("no", "yes"),
}
OPTIONS = {field.name for field in fields(ScoreOptions)}


@dataclass(frozen=True)
class ScorerChoice:
    """A scorer, its options, and which of its scores are taken.

    end: whether the highest or the lowest scores are taken. among: see `Selection`. shuffled: scores
    are permuted at random among a response's tokens, and among a prompt's, a control that must do as
    chance does.
    """

    name: str  # as it was written
    scorer: str
    options: ScoreOptions = DEFAULTS
    question: str = "prompt"
    end: str = "top"
    among: str = "all"
    shuffled: bool = False

    @property
    def label(self) -> str:
        """See `label_of`."""
        return label_of(self.name)


def label_of(name: str) -> str:
    """A choice's name without the seed: draws of one label are averaged."""
    scorer, _, settings = name.partition("@")
    kept = [part for part in settings.split(",") if part and not part.startswith("seed=")]
    return "@".join([scorer, *([",".join(kept)] if kept else [])])


def parse_scorer(text: str, side: Side = "response") -> ScorerChoice:
    """Read SCORER[@KEY=VALUE,...]; keys: layers, seed, and those of `VALUES`.

    side: whose tokens it has to score.

    Raises ValueError for what is unknown.
    """
    scorer, _, settings = text.strip().partition("@")
    find_scorer(scorer, side)
    choice = ScorerChoice(text.strip(), scorer)
    for setting in filter(None, settings.split(",")):
        key, _, written = setting.partition("=")
        value: Any = written
        if key == "seed" and written:
            if not written.isdigit():
                raise ValueError(f"scorer {text!r}: seed must be a number")
            value = int(written)
        elif key == "shuffled" and written in VALUES[key]:
            value = written == "yes"
        elif not (key == "layers" and written) and written not in VALUES.get(key, ()):
            known = "; ".join(f"{name}: {', '.join(values)}" for name, values in VALUES.items())
            raise ValueError(
                f"scorer {text!r}: {setting!r} is unknown; use layers=..., seed=N, or of {known}"
            )
        if key in OPTIONS:
            key, value = "options", replace(choice.options, **{key: value})
        choice = replace(choice, **{key: value})
    return choice


def parse_scorers(
    texts: Sequence[str], model: PreTrainedModel | None = None, *, side: Side = "response"
) -> tuple[ScorerChoice, ...]:
    """All scorers, each named once; with a model it is checked that they can run on it.

    That is, their layers against its depth, and the packages that they call.
    """
    choices = tuple(parse_scorer(text, side) for text in texts)
    if not choices or len({choice.name for choice in choices}) < len(choices):
        raise ValueError("a study needs at least one scorer, each named once")
    if model is not None:
        check_installed([choice.scorer for choice in choices])
        for choice in choices:
            model_layers(model, choice.options.layers)
    return choices


def score_solution(
    within: SolutionSet,
    solution: Solution,
    choices: Sequence[ScorerChoice],
    *,
    seed: int = 0,
    messages: Sequence[Message] | None = None,
) -> dict[str, Tensor]:
    """Scores of one solution by the name of each choice, (T,) each, prompt and response.

    Choices of the same options share the model's work. seed: of shuffled scores. messages: the
    conversation that was answered; default: the task's.
    """
    if messages is None:
        messages = within.task.prompt(within.task.examples[solution.problem])
    groups: dict[tuple[str, ScoreOptions], list[ScorerChoice]] = {}
    for choice in choices:
        groups.setdefault((choice.question, choice.options), []).append(choice)
    scores: dict[str, Tensor] = {}
    for (question, options), members in groups.items():
        batch = _batch_of(within, solution, [messages] if question == "user" else None)
        names = sorted({choice.scorer for choice in members})
        by_scorer = score_tokens(within.model, batch, names, options=options)
        for choice in members:
            row = by_scorer[choice.scorer][0].float().cpu()
            scores[choice.name] = (
                _shuffled(row, batch.candidates[0], seed) if choice.shuffled else row
            )
    return scores


def choose(
    scores: Tensor, eligible: Tensor, choice: ScorerChoice, ratio: float, structural: Tensor
) -> Tensor:
    """The `ceil(ratio * n)` of n eligible tokens that a choice takes, (T,) bool.

    The number is that of all eligible tokens, also where only structural or semantic ones may be
    taken, so that such choices take as many as the others. Shapes: scores (T,), eligible and
    structural (T,) bool.
    """
    if not bool(eligible.any()):  # a short text of which everything is excluded
        return torch.zeros_like(eligible)
    allowed = eligible
    if choice.among != "all":
        allowed = eligible & (structural if choice.among == "structural" else ~structural)
    of_allowed = min(1.0, ratio * int(eligible.sum()) / max(1, int(allowed.sum())))
    rule = Selection(ratio=of_allowed, end=choice.end)  # type: ignore[arg-type]
    return select(scores[None], allowed[None], rule)[0]


def _batch_of(
    within: SolutionSet, solution: Solution, conversations: list[Sequence[Message]] | None
) -> ScoreBatch:
    """A batch of one text, with flow from the entire prompt or the user messages of `conversations` only."""
    prompt = torch.tensor([solution.prompt_ids])
    completion = torch.tensor([solution.response_ids])
    return score_batch(
        within.tokenizer,
        prompt_ids=prompt,
        prompt_mask=torch.ones_like(prompt),
        completion_ids=completion,
        completion_mask=torch.ones_like(completion),
        answer=within.task.answer_rule,
        conversations=conversations,
        delimiters=within.structural,
    )


def _shuffled(scores: Tensor, candidates: Tensor, seed: int) -> Tensor:
    """Permuted among a response's tokens, and among those in front of it."""
    generator = torch.Generator().manual_seed(seed)
    mixed = scores.clone()
    for positions in (candidates.nonzero()[:, 0], (~candidates).nonzero()[:, 0]):
        order = torch.randperm(len(positions), generator=generator)
        mixed[positions] = scores[positions[order]]
    return mixed
