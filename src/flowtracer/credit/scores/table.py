"""The table of scorers, and one look at the model that serves all the chosen ones."""

from collections.abc import Sequence

from torch import Tensor, nn

from flowtracer.attention import mean_attention
from flowtracer.credit.batch import ScoreBatch
from flowtracer.credit.scores.flow import flow
from flowtracer.credit.scores.scorer import Evidence, Need, ScoreOptions, Scorer

DEFAULTS = ScoreOptions()

SCORERS: dict[str, Scorer] = {
    "flow": Scorer(flow, frozenset({"attention"}), after_answer=False),
}


def find_scorer(name: str) -> Scorer:
    """The scorer of this name; ValueError with the known names."""
    if name not in SCORERS:
        raise ValueError(f"scorer {name!r} is unknown; use one of {', '.join(SCORERS)}")
    return SCORERS[name]


def score_tokens(
    model: nn.Module,
    batch: ScoreBatch,
    names: Sequence[str],
    *,
    options: ScoreOptions = DEFAULTS,
) -> dict[str, Tensor]:
    """Scores by name, (B, T) each; what several of them need is computed once.

    Raises ValueError for an unknown name and AttentionCaptureError for a model that cannot be read.
    """
    scorers = {name: find_scorer(name) for name in names}
    needs = frozenset[Need]().union(*(scorer.needs for scorer in scorers.values()))
    evidence = gather_evidence(model, batch, needs, options)
    return {name: scorer.score(evidence, options) for name, scorer in scorers.items()}


def gather_evidence(
    model: nn.Module, batch: ScoreBatch, needs: frozenset[Need], options: ScoreOptions
) -> Evidence:
    """Run the model as little as the needs allow."""
    attention = None
    if "attention" in needs:
        attention = mean_attention(
            model, batch.input_ids, batch.attention_mask, layers=options.layers
        )
    return Evidence(batch, attention=attention)
