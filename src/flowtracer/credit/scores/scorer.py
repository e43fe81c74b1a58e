"""What a scorer is: a function of evidence, and which evidence it needs.

A scorer takes `Evidence` and `ScoreOptions` and returns (B, T) scores that are finite and not
negative, 0 meaning "never chosen"; only scores of candidates are used.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from torch import Tensor

from flowtracer.attention.layers import Layers
from flowtracer.credit.batch import ScoreBatch
from flowtracer.flow.answer_flow import AnswerTokens

Need = Literal["attention"]


@dataclass(frozen=True)
class ScoreOptions:
    """Choices that scorers share."""

    layers: Layers = "middle"  # section 3.3 of the paper
    answer_tokens: AnswerTokens = "absorb"  # our choice
    seed: int = 0  # of random scores


@dataclass(frozen=True)
class Evidence:
    """What one look at the model gave; a field is None unless some scorer needed it."""

    batch: ScoreBatch
    attention: Tensor | None = None  # (B, T, T), mean over layers and heads, row = who looks


@dataclass(frozen=True)
class Scorer:
    """A way to score tokens.

    needs: the evidence it reads; nothing else is computed.
    after_answer: whether tokens behind the last answer token can score or matter.
    """

    score: Callable[[Evidence, ScoreOptions], Tensor]
    needs: frozenset[Need] = frozenset()
    after_answer: bool = True
