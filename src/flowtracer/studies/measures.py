"""What a study compares: a scorer with its options, written as one word.

flow    flow@end=bottom    flow@layers=early    answer_attention@edges=value    random@seed=2
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, get_args

import torch
from torch import Tensor
from transformers import PreTrainedModel

from flowtracer.attention import depth_of, select_layers
from flowtracer.attention.mean import Edges
from flowtracer.credit import ScoreBatch, ScoreOptions, Selection, score_tokens, select
from flowtracer.scorers.scorer import Heads
from flowtracer.scorers.table import DEFAULTS, find_scorer

CHOICES: dict[str, tuple[str, ...]] = {
    "edges": get_args(Edges),
    "heads": get_args(Heads),
    "answer_tokens": ("absorb", "relay"),
    "question": ("prompt", "user"),
    "end": ("top", "bottom"),
    "among": ("all", "structural", "semantic"),
    "shuffled": ("no", "yes"),
}


@dataclass(frozen=True)
class Measure:
    """A way to choose tokens.

    end: whether the highest or the lowest scores are taken. among: see `Selection`. shuffled: scores
    change places at random among a response's tokens, a control that must do as chance does.
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
        """Its name without the seed: draws of one label are averaged."""
        scorer, _, rest = self.name.partition("@")
        kept = [part for part in rest.split(",") if part and not part.startswith("seed=")]
        return "@".join([scorer, *([",".join(kept)] if kept else [])])


def parse_measure(text: str) -> Measure:
    """Read SCORER[@KEY=VALUE,...]; keys: layers, seed, and those of `CHOICES`.

    Raises ValueError for what is unknown.
    """
    scorer, _, rest = text.strip().partition("@")
    find_scorer(scorer)
    found = Measure(text.strip(), scorer)
    for part in filter(None, rest.split(",")):
        key, _, value = part.partition("=")
        if key in ("layers", "seed") and value:
            if key == "seed" and not value.isdigit():
                raise ValueError(f"measure {text!r}: seed must be a number")
            wanted: Any = int(value) if key == "seed" else value
            found = replace(found, options=replace(found.options, **{key: wanted}))
        elif key not in CHOICES or value not in CHOICES[key]:
            known = "; ".join(f"{name}: {', '.join(values)}" for name, values in CHOICES.items())
            raise ValueError(
                f"measure {text!r}: {part!r} is unknown; use layers=..., seed=N, or of {known}"
            )
        elif key in ("edges", "heads", "answer_tokens"):
            option: Any = value
            found = replace(found, options=replace(found.options, **{key: option}))
        else:
            given: Any = value == "yes" if key == "shuffled" else value
            found = replace(found, **{key: given})
    return found


def parse_measures(texts: Sequence[str], model: PreTrainedModel | None = None) -> list[Measure]:
    """All measures, each named once; with a model, their layers are tried too."""
    measures = [parse_measure(text) for text in texts]
    if not measures or len({one.name for one in measures}) < len(measures):
        raise ValueError("a study needs at least one measure, each named once")
    if model is not None:
        for one in measures:
            select_layers(one.options.layers, depth_of(model))
    return measures


def score_measures(
    model: PreTrainedModel,
    batches: dict[str, ScoreBatch],
    measures: Sequence[Measure],
    *,
    seed: int = 0,
) -> dict[str, Tensor]:
    """Scores of one text by measure, (T,) each; measures of the same options share the model's work.

    batches: the text with flow from the "prompt", and from the "user" if some measure asks for it.
    """
    found: dict[str, Tensor] = {}
    groups: dict[tuple[str, ScoreOptions], list[Measure]] = {}
    for one in measures:
        groups.setdefault((one.question, one.options), []).append(one)
    for (question, options), members in groups.items():
        batch = batches[question]
        names = sorted({one.scorer for one in members})
        scores = score_tokens(model, batch, names, options=options)
        for one in members:
            own = scores[one.scorer][0].float().cpu()
            found[one.name] = _shuffled(own, batch.candidates[0], seed) if one.shuffled else own
    return found


def choose(
    scores: Tensor, eligible: Tensor, measure: Measure, ratio: float, structural: Tensor
) -> Tensor:
    """The `ceil(ratio * n)` of n eligible tokens that the measure takes, (T,) bool.

    The number is that of all eligible tokens, also where only structural or semantic ones may be
    taken, so that such measures hide as much as the others. Shapes: scores (T,), eligible and
    structural (T,) bool.
    """
    if not bool(eligible.any()):  # a short text of which everything is spared
        return torch.zeros_like(eligible)
    allowed = eligible
    if measure.among != "all":
        allowed = eligible & (structural if measure.among == "structural" else ~structural)
    ratio = min(1.0, ratio * int(eligible.sum()) / max(1, int(allowed.sum())))
    rule = Selection(ratio=ratio, end=measure.end)  # type: ignore[arg-type]
    return select(scores[None], allowed[None], rule)[0]


def _shuffled(scores: Tensor, candidates: Tensor, seed: int) -> Tensor:
    places = candidates.nonzero()[:, 0]
    order = torch.randperm(len(places), generator=torch.Generator().manual_seed(seed))
    mixed = scores.clone()
    mixed[places] = scores[places[order]]
    return mixed
