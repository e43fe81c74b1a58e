"""Per-token scores: every method of deciding which tokens matter, under one signature."""

from flowtracer.scorers.scorer import Evidence, ScoreOptions, Scorer
from flowtracer.scorers.table import SCORERS, score_tokens

__all__ = ["SCORERS", "Evidence", "ScoreOptions", "Scorer", "score_tokens"]
