"""The tables of scorers."""

from collections.abc import Sequence

from torch import Tensor, nn

from flowtracer.models.decoder import device_of, find_decoder
from flowtracer.scorers.attention import answer_attention, attention_max, rollout
from flowtracer.scorers.batch import ScoreBatch
from flowtracer.scorers.controls import delimiters, position, random
from flowtracer.scorers.entropy import entropy
from flowtracer.scorers.evidence import gather_evidence
from flowtracer.scorers.flashtrace import flashtrace, flashtrace_span, load_package
from flowtracer.scorers.flow import flow
from flowtracer.scorers.gradients import gradient, gradient_input
from flowtracer.scorers.head_rhythm import fai, rhythm, waad
from flowtracer.scorers.hidden_states import aligned, correlation
from flowtracer.scorers.scorer import Evidence, Need, ScoreOptions, Scorer, Side

DEFAULTS = ScoreOptions()

SCORERS: dict[str, Scorer] = {
    "flow": Scorer(flow, frozenset({"attention"}), after_answer=False, tiles=True),
    "random": Scorer(random),
    "entropy": Scorer(entropy, frozenset({"entropy"})),
    "gradient": Scorer(gradient, frozenset({"gradient"}), after_answer=False),
    "gradient_input": Scorer(gradient_input, frozenset({"gradient"}), after_answer=False),
    "correlation": Scorer(correlation, frozenset({"hidden"})),
    "aligned": Scorer(aligned, frozenset({"alignment"})),
    "attention_max": Scorer(attention_max, frozenset({"attention"})),
    "answer_attention": Scorer(answer_attention, frozenset({"attention"}), after_answer=False),
    "rollout": Scorer(rollout, frozenset({"attention"}), after_answer=False),
    "waad": Scorer(waad, frozenset({"heads"})),
    "fai": Scorer(fai, frozenset({"heads"})),
    "rhythm": Scorer(rhythm, frozenset({"heads"})),
    "position": Scorer(position),
    "delimiters": Scorer(delimiters),
}
# Scorers of other packages: found by name, and never part of "all scorers".
EXTRA_SCORERS: dict[str, Scorer] = {
    name: Scorer(score, frozenset({"model"}), after_answer=False, side="prompt", check=load_package)
    for name, score in {"flashtrace": flashtrace, "flashtrace_span": flashtrace_span}.items()
}


def find_scorer(name: str, side: Side | None = None) -> Scorer:
    """The scorer of this name.

    side: whose tokens it has to score; None for any.

    Raises ValueError for an unknown name, and for a scorer of the prompt's tokens where the response's
    are asked for.
    """
    scorer = SCORERS.get(name) or EXTRA_SCORERS.get(name)
    if scorer is None:
        known = ", ".join([*SCORERS, *EXTRA_SCORERS])
        raise ValueError(f"scorer {name!r} is unknown; use one of {known}")
    if side == "response" and scorer.side == "prompt":
        raise ValueError(
            f"scorer {name!r} scores tokens of the prompt only; use it with "
            "`flowtracer study causal --side prompt` or user"
        )
    return scorer


def check_installed(names: Sequence[str]) -> None:
    """Raise ValueError if a scorer calls a package that is not installed."""
    for name in names:
        check = find_scorer(name).check
        if check is not None:
            check()


def score_tokens(
    model: nn.Module,
    batch: ScoreBatch,
    names: Sequence[str],
    *,
    options: ScoreOptions = DEFAULTS,
    shared: int = 0,
) -> dict[str, Tensor]:
    """Scores by name, (B, T) float each; what several of them need is computed once.

    shared: how many leading columns hold the same prompt in every row, without padding; it then runs
    once, where nothing but attention is read. A single text longer than `options.tile_above` is read
    in tiles, if all its scorers can.

    Every score is finite and not negative, whatever the model gave. Raises ValueError for an unknown
    name and AttentionCaptureError for a model that cannot be read.
    """
    scorers = [find_scorer(name) for name in names]
    needs = frozenset[Need]().union(*(scorer.needs for scorer in scorers))
    tiles = all(scorer.tiles for scorer in scorers if "attention" in scorer.needs)
    device = batch.input_ids.device
    if needs:  # T x T stays where the model is, only scores are returned
        batch = batch.to(device_of(find_decoder(model)))
    evidence = gather_evidence(model, batch, needs, options, shared=shared, tiles=tiles)
    return {name: score_evidence(evidence, name, options).to(device) for name in names}


def score_evidence(evidence: Evidence, name: str, options: ScoreOptions) -> Tensor:
    """Scores (B, T) out of what was read of the model, finite and not negative."""
    scores = find_scorer(name).score(evidence, options)
    return scores.nan_to_num(nan=0.0, posinf=0.0).clamp(min=0)
