"""From a model and sampled responses to a weight per token, to be multiplied into advantages."""

from flowtracer.credit.credit import Credit, TokenCredit, apply_credit, concentration, token_credit
from flowtracer.credit.selection import Selection, select
from flowtracer.credit.sequences import sequence_credit
from flowtracer.credit.weighting import CONTINUOUS, Weighting, weigh
from flowtracer.scorers import SCORERS, ScoreOptions, score_tokens
from flowtracer.scorers.batch import ScoreBatch
from flowtracer.scorers.responses import score_batch, structural_vocabulary

__all__ = [
    "CONTINUOUS",
    "SCORERS",
    "Credit",
    "ScoreBatch",
    "ScoreOptions",
    "Selection",
    "TokenCredit",
    "Weighting",
    "apply_credit",
    "concentration",
    "score_batch",
    "score_tokens",
    "select",
    "sequence_credit",
    "structural_vocabulary",
    "token_credit",
    "weigh",
]
