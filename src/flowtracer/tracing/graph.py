"""All that a trace takes from attention, and how often it reads attention for that."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor

from flowtracer.flow import (
    AnswerFlow,
    Edge,
    Routes,
    answer_flow,
    send_flow,
    smallest_edge_set,
    strongest_edges,
    strongest_routes,
)
from flowtracer.flow.solve import AttentionRows, rows_of
from flowtracer.flow.targeted import AnswerTokens

EDGES_PER_TOKEN = 4  # our choice: enough to answer a click on any token
BACKBONE_EDGE_RATIO = 0.9  # our choice
BACKBONE_EDGE_LIMIT = 10_000  # our choice: keeps the page of an 8,000-token text below 3 MB


@dataclass(frozen=True)
class TracedGraph:
    """The flow of one text, the edges and routes of it that are shown, and other numbers of its tokens."""

    flow: AnswerFlow
    strongest: list[Edge]  # into and out of every token
    backbone: list[Edge]
    routes: Routes
    scores: Mapping[str, Tensor] = field(default_factory=dict)  # by scorer, (1, T)
    by_layer: tuple[Tensor, ...] = ()  # throughput of each chosen layer alone, (1, T)


def read_graph(
    attention: Tensor | AttentionRows,
    question: Tensor,
    response: Tensor,
    answer: Tensor,
    answer_tokens: AnswerTokens,
) -> TracedGraph:
    """Everything that reads attention (1, T, T) once the text is known.

    question and answer: (1, T) as in `answer_flow`. response: (1, T) bool, its answer included.
    """
    question, answer = question.to(attention.device), answer.to(attention.device)
    flow = answer_flow(attention, question, answer, answer_tokens=answer_tokens)
    return TracedGraph(
        flow,
        strongest_edges(flow, per_token=EDGES_PER_TOKEN),
        smallest_edge_set(flow, ratio=BACKBONE_EDGE_RATIO, limit=BACKBONE_EDGE_LIMIT),
        strongest_routes(flow, response),
    )


def layer_throughput(
    attention: Tensor | AttentionRows, question: Tensor, answer: Tensor, answer_tokens: AnswerTokens
) -> Tensor:
    """Throughput (1, T) through one layer's attention alone, on the CPU; 0 where nothing flows.

    question and answer: (1, T) as in `answer_flow`.
    """
    here = attention.device
    sent = send_flow(attention, question.to(here), answer.to(here), answer_tokens=answer_tokens)
    return sent.throughput.nan_to_num(nan=0.0, posinf=0.0).cpu()


def count_passes() -> int:
    """How often `read_graph` reads all rows of attention, counted on a text of two tokens."""
    attention = _CountedRows(torch.full((1, 2, 2), 0.5).tril())
    question = torch.tensor([[True, False]])
    read_graph(attention, question, ~question, (~question).float(), "absorb")
    return attention.rows_read // 2


@dataclass
class _CountedRows:
    """Attention of two tokens that counts how many of its rows are read."""

    matrix: Tensor
    rows_read: int = 0
    shape = torch.Size([1, 2, 2])
    dtype = torch.float32
    device = torch.device("cpu")

    def rows(self, start: int, stop: int) -> Tensor:
        self.rows_read += stop - start
        return rows_of(self.matrix, start, stop)
