"""What a scorer is: a function of evidence, and which evidence it needs.

A scorer takes `Evidence` and `ScoreOptions` and returns (B, T) scores that are finite and not
negative, 0 meaning "never chosen"; only scores of candidates are used.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, get_args

from torch import Tensor, nn

from flowtracer.attention.layers import Layers, check_layers
from flowtracer.attention.mean import Edges
from flowtracer.attention.tiles import TiledAttention
from flowtracer.flow.targeted import AnswerTokens
from flowtracer.scorers.batch import ScoreBatch
from flowtracer.scorers.head_statistics import HeadStatistics

Heads = Literal["all", "near", "middle", "far"]
Side = Literal["response", "prompt"]
Need = Literal["attention", "heads", "hidden", "alignment", "entropy", "gradient", "model"]


@dataclass(frozen=True)
class ScoreOptions:
    """Choices that scorers share. Raises ValueError for one that does not exist."""

    layers: Layers = "middle"  # section 3.3 of the paper
    answer_tokens: AnswerTokens = "absorb"  # our choice
    seed: int = 0  # of random scores
    edges: Edges = "mean"  # what an edge of the graph weighs, see `MeanReader`; the paper's
    heads: Heads = "all"  # which heads are averaged: all (the paper's), or a third by distance
    tile_above: int | None = None  # tokens; None: where T x T takes a sixteenth of free memory

    def __post_init__(self) -> None:
        check_layers(self.layers)
        check_choice("answer_tokens", self.answer_tokens, AnswerTokens)
        check_choice("edges", self.edges, Edges)
        check_choice("heads", self.heads, Heads)


def check_choice(name: str, value: object, choices: Any) -> None:
    """Raise ValueError unless the value is one of the choices, a `Literal`."""
    if value not in get_args(choices):
        raise ValueError(f"{name} is {value!r}; use {' or '.join(map(repr, get_args(choices)))}")


@dataclass(frozen=True)
class Evidence:
    """What was read of the model; a field is None unless some scorer needed it.

    Each need fills the field of its name, "attention" also `layers`, "gradient" also `embedding`.
    """

    batch: ScoreBatch
    attention: Tensor | None = None  # (B, T, T), mean over layers and heads; rows attend to columns
    tiles: TiledAttention | None = None  # the same in place of it, for a text too long to hold it
    layers: tuple[int, ...] = ()  # whose attention was averaged
    heads: HeadStatistics | None = None
    hidden: Tensor | None = None  # (B, T, D) after the middle layer
    alignment: Tensor | None = None  # (B, V), the head on the mean final state of the response
    entropy: Tensor | None = None  # (B, T), of the distribution that a candidate came from
    gradient: Tensor | None = None  # (B, T, D), of the answer's log-probability
    embedding: Tensor | None = None  # (B, T, D), the inputs that `gradient` belongs to
    model: nn.Module | None = None  # itself, for a scorer of another package


@dataclass(frozen=True)
class Scorer:
    """A way to score tokens.

    needs: the evidence it reads; nothing else is computed.
    after_answer: whether tokens behind the last answer token can score or matter. tiles: whether it
    can read attention from `tiles`. side: whose tokens it scores; "response" scorers may score both.
    check: raises ValueError if an optional package that it calls is not installed.
    """

    score: Callable[[Evidence, ScoreOptions], Tensor]
    needs: frozenset[Need] = frozenset()
    after_answer: bool = True
    tiles: bool = False
    side: Side = "response"
    check: Callable[[], object] | None = None
