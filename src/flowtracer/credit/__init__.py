"""From a model and sampled responses to a weight per token, to be multiplied into advantages.

Names are imported when they are first used: the command line needs `credit.arguments` only.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from flowtracer.credit.calibrated import Calibrated
    from flowtracer.credit.credit import (
        Credit,
        TokenCredit,
        apply_credit,
        concentration,
        token_credit,
    )
    from flowtracer.credit.selection import Selection, select
    from flowtracer.credit.sequences import sequence_credit
    from flowtracer.credit.weighting import CONTINUOUS, Weighting, weigh
    from flowtracer.scorers import SCORERS, ScoreOptions, score_tokens
    from flowtracer.scorers.batch import ScoreBatch
    from flowtracer.scorers.responses import score_batch, sequence_batch, structural_vocabulary

__all__ = [
    "CONTINUOUS",
    "SCORERS",
    "Calibrated",
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
    "sequence_batch",
    "sequence_credit",
    "structural_vocabulary",
    "token_credit",
    "weigh",
]
_MODULES = {
    "scorers": ("SCORERS", "ScoreOptions", "score_tokens"),
    "scorers.batch": ("ScoreBatch",),
    "scorers.responses": ("score_batch", "sequence_batch", "structural_vocabulary"),
    "credit.calibrated": ("Calibrated",),
    "credit.selection": ("Selection", "select"),
    "credit.sequences": ("sequence_credit",),
    "credit.weighting": ("CONTINUOUS", "Weighting", "weigh"),
}
_HOME = {name: module for module, names in _MODULES.items() for name in names}


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module 'flowtracer.credit' has no attribute {name!r}")
    return getattr(import_module(f"flowtracer.{_HOME.get(name, 'credit.credit')}"), name)
