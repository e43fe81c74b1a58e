"""A trace: plain numbers about the flow through one text."""

import math
import os
import reprlib
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from flowtracer.flow import BACKBONE_RATIO, Edge, Route
from flowtracer.render import notebook_frame, page_html
from flowtracer.tracing.picture import Picture
from flowtracer.tracing.saving import figure_of, save
from flowtracer.tracing.tables import TopToken, dataframe, top_tokens

if TYPE_CHECKING:
    import pandas
    from matplotlib.figure import Figure

SCHEMA = "flowtracer.trace"
SCHEMA_VERSION = 2

Role = Literal["template", "user", "response", "answer"]


class Unit(NamedTuple):
    """Tokens first..last that are shown as one piece: one token, or all tokens of one character."""

    first: int
    last: int  # inclusive
    text: str


def units_of(text: str, offsets: Sequence[tuple[int, int]], *, first: int = 0) -> list[Unit]:
    """Tokens whose characters overlap as one unit. first: number of the first token."""
    units: list[Unit] = []
    start = stop = 0
    for token, (begin, end) in enumerate(offsets, start=first):
        if units and begin < stop:
            stop = max(stop, end)
            units[-1] = Unit(units[-1].first, token, text[start:stop])
        else:
            start, stop = begin, end
            units.append(Unit(token, token, text[start:stop]))
    return units


@dataclass(frozen=True)
class Provenance:
    """How a trace was made."""

    model: str
    dtype: str
    layers: tuple[int, ...]
    answer_rule: str
    answer_tokens: str
    question: str
    versions: dict[str, str]
    edges: str = "mean"  # what an edge of the graph weighs
    # Layers of a hybrid model that pass on information by other means than softmax attention.
    unseen_layers: tuple[int, ...] = ()


@dataclass(frozen=True, repr=False)
class Trace:
    """Flow through one text. Per-token tuples all have one entry per token.

    Tokens after the last answer token carry nothing: their scores are 0.
    """

    text: str  # prompt as the model saw it, then the response
    ids: tuple[int, ...]
    offsets: tuple[tuple[int, int], ...]  # characters of `text` that each token represents
    roles: tuple[Role, ...]
    answer_weights: tuple[float, ...]
    potential: tuple[float, ...]
    inflow: tuple[float, ...]
    throughput: tuple[float, ...]
    edges: tuple[Edge, ...]  # the strongest into and out of every token, and the backbone's
    routes: tuple[Route, ...]  # of two and more hops, by the tokens of the response that they pass
    hubs: tuple[int, ...]  # of the response without its answer
    provenance: Provenance
    matched_rule: str = ""  # that found the answer: of "auto" the rule that did
    direct: float | None = None  # flow from the prompt into the answer in one hop, of 1
    through_one: float | None = None  # flow that passes one token of the response on its way, of 1
    scores: dict[str, tuple[float, ...]] = field(default_factory=dict)  # other scorers, by name
    layer_throughput: tuple[tuple[float, ...], ...] = ()  # of each of provenance.layers alone
    correct: bool | None = None  # whether a grader accepts the response; None: not graded
    cut_off: bool | None = None  # whether the response hit its token limit; None: not known
    pictures: tuple[Picture, ...] = ()  # of the prompt, in its order

    @property
    def response_start(self) -> int:
        """Number of prompt tokens."""
        return next(i for i, role in enumerate(self.roles) if role in ("response", "answer"))

    @property
    def hub_spacing(self) -> tuple[int, ...]:
        """Tokens from each hub to the next."""
        return tuple(later - earlier for earlier, later in pairwise(self.hubs))

    @property
    def response(self) -> str:
        """Text of the response."""
        return self.text[self.offsets[self.response_start][0] :]

    @property
    def units(self) -> tuple[Unit, ...]:
        """The pieces to show: tokens whose characters overlap are merged into one."""
        return tuple(units_of(self.text, self.offsets))

    def backbone(self, ratio: float = BACKBONE_RATIO) -> tuple[int, ...]:
        """Response tokens with the highest throughput: the top 40% (section 3.3 of the paper)."""
        if not 0 < ratio <= 1:
            raise ValueError(f"ratio is {ratio}; it must be above 0 and at most 1")
        start = self.response_start
        count = math.ceil(ratio * (len(self.ids) - start) - 1e-9)  # as `select_backbone` rounds
        order = sorted(range(start, len(self.ids)), key=lambda i: (-self.throughput[i], i))
        return tuple(sorted(i for i in order[:count] if self.throughput[i] > 0))

    def token_text(self, token: int) -> str:
        """Text of one token (the complete character, for a token that is part of one)."""
        start, stop = self.offsets[token]
        return self.text[start:stop]

    @property
    def tokens(self) -> tuple[str, ...]:
        """Text of each token, as `token_text` gives it."""
        return tuple(map(self.token_text, range(len(self.ids))))

    @property
    def answer(self) -> str:
        """Text of the answer; its parts joined by a space if there are several."""
        spans: list[list[int]] = []
        for (start, stop), role in zip(self.offsets, self.roles, strict=True):
            if role != "answer":
                continue
            if spans and start <= spans[-1][1]:
                spans[-1][1] = max(spans[-1][1], stop)
            else:
                spans.append([start, stop])
        return " ".join(self.text[start:stop].strip() for start, stop in spans)

    def top(
        self, k: int = 10, *, scorer: str = "flow", roles: tuple[Role, ...] = ("response",)
    ) -> list[TopToken]:
        """The k tokens of these roles with the highest scores: position, text, role, score.

        Raises ValueError for a scorer that the trace does not hold.
        """
        return top_tokens(self, k, scorer=scorer, roles=roles)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the trace, atomically, as what the name ends in.

        .json: all numbers, see `flowtracer.load_trace`. .html: the page, one file that needs no other.
        .png or .svg: the token graph. Raises ValueError for another ending.
        """
        save(self, Path(path))

    def to_html(self) -> str:
        """The page as text, as `save("x.html")` writes it."""
        return page_html(self)

    def to_json(self) -> dict[str, Any]:
        """Plain lists and dictionaries, with the schema version."""
        return {"schema": SCHEMA, "version": SCHEMA_VERSION, **asdict(self)}

    def to_dataframe(self) -> "pandas.DataFrame":
        """A table of pandas with one row for each token, its index the position in the text.

        Columns: id (in the vocabulary), text, role (template, user, response or answer), answer_weight (how
        strongly it draws flow, 0 outside the answer), throughput, potential, inflow (all of one unit of
        flow), hub and backbone (bool), and score_NAME for each further scorer of the trace.

        Raises ImportError, in one sentence, without pandas.
        """
        return dataframe(self)

    def plot(self, kind: str = "graph") -> "Figure":
        """A figure of matplotlib: "graph" (the coloured text with its strongest edges) or "bars".

        Raises ValueError for another kind, and for bars of a response that repeats too few pieces.
        """
        return figure_of(self, kind)

    def __repr__(self) -> str:
        prompt = self.response_start
        answer = reprlib.repr(self.answer)
        return (
            f"Trace(model={self.provenance.model!r}, prompt={prompt} tokens, "
            f"response={len(self.ids) - prompt} tokens, answer={answer}, hubs={len(self.hubs)})"
        )

    def _repr_html_(self) -> str:
        return notebook_frame(self)
