"""Answer-targeted flow: which tokens carry influence from the question to the answer.

Direction, stated once for the whole package: `attention[b, k, i]` is how much token k attends to
token i (row = query, the layout of Hugging Face). Influence runs the other way, from the earlier
token i to the later token k: `W[i, k] = attention[k, i]` for i < k. The diagonal and everything
above it are ignored.
"""

from dataclasses import dataclass, field, fields, replace
from typing import Literal

import torch
from torch import Tensor, nn

from flowtracer.flow.checks import check_flow_input, check_in_range, check_reachable
from flowtracer.flow.kept import read_twice
from flowtracer.flow.solve import (
    AttentionRows,
    rows_of,
    solve_passage,
    solve_potential,
    working_dtype,
)
from flowtracer.kernels.availability import kernels_run
from flowtracer.kernels.solve import solve_flow, worth_it

AnswerTokens = Literal["absorb", "relay"]


@dataclass(frozen=True)
class AnswerFlow:
    """A unit of flow from the question to the answer. All of (B, T), in the attention's dtype."""

    potential: Tensor  # h: influence that reaches the answer, summed over all paths
    inflow: Tensor  # f: fraction of the unit of flow that passes through the token
    throughput: Tensor  # tau = inflow + outflow = 2 f, the sink edge counted as outflow
    attention: Tensor | AttentionRows = field(repr=False)  # (B, T, T), the input, not a copy
    passage: Tensor = field(repr=False)  # g = f / h, float64
    reach: Tensor = field(repr=False)  # h in float64; in float32 the smallest values are 0
    sinks: Tensor = field(repr=False)  # how strongly each token draws, 0 outside the answer
    relays: Tensor = field(repr=False)  # 1 where a token passes flow on, 0 where it absorbs

    def row(self, index: int) -> "AnswerFlow":
        """The flow of one row of the batch, still with a batch dimension of 1. Nothing is copied."""
        if len(self.potential) == 1:
            return self
        values = {part.name: getattr(self, part.name) for part in fields(self)}
        return AnswerFlow(**{name: value[index : index + 1] for name, value in values.items()})

    def edges(self) -> Tensor:
        """Flow on every edge, (B, T, T): `[b, i, k] = g(i) W[i, k] h(k)` from token i to token k."""
        return self.edges_into(0, self.attention.shape[1]).transpose(1, 2)

    def edges_into(self, start: int, stop: int) -> Tensor:
        """Flow into tokens start..stop from all tokens, (B, stop - start, T): a strip of edges.

        `[b, k - start, i]` is the flow from i to k. Strips keep memory linear where T x T is large.
        """
        strip = rows_of(self.attention, start, stop).tril(start - 1).to(self.passage.dtype)
        strip = nn.functional.pad(strip, (0, self.attention.shape[1] - stop))
        # In this order nothing overflows: W[i, k] h(k) is at most h(i) where i relays.
        strip = strip * self.relays[:, None, :] * self.reach[:, start:stop, None]
        strip = strip * self.passage[:, None, :]
        return strip.to(self.attention.dtype)


def answer_flow(
    attention: Tensor | AttentionRows,
    question: Tensor,
    answer: Tensor,
    *,
    answer_tokens: AnswerTokens = "absorb",
) -> AnswerFlow:
    """Send one unit of flow from the question to the answer (equations 1 to 4 of the paper).

    With U the strictly upper triangular W:

    - potential: `(I - U) h = 1_A`, one triangular solve. Rows of U that belong to answer tokens are
      zero when they absorb.
    - reweighting: `W'[i, k] = W[i, k] h(k) / h(i)`; its rows sum to 1 wherever h > 0 outside A
      (theorem 3.1). It is never formed.
    - flow: `(I - U)^T g = source / h`, the second solve, and `f = h * g`; throughput is `2 f`.

    Identities: inflow into the answer sums to 1 (absorb); `0 <= h`; a question token without incoming flow
    carries exactly its own part of the source.

    Args:
        attention: (B, T, T) non-negative, row = query, float32 or float64; or the result of
            `tiled_attention`, whose rows are computed when they are needed.
        question: (B, T) bool, where the unit enters, in equal parts. Tokens that cannot reach the
            answer are left out and their part goes to the others (our choice).
        answer: (B, T) bool, where it leaves; or non-negative weights, its weight in the
            right-hand side of the potential.
        answer_tokens: "absorb" (default, our choice: the paper leaves it open) gives answer tokens
            no onward edges; "relay" lets them pass influence on to later answer tokens.

    Raises:
        ValueError: naming the row, when shapes disagree, attention is negative or not finite, a row
            has no question or no answer token, no question token reaches the answer, or influence
            leaves the range of the numbers (only where rows of attention are far from summing to 1,
            or paths have next to no influence).

    Values are computed in float64 and influence below its smallest normal number counts as none.
    """
    largest = check_flow_input(attention, question, answer, answer_tokens)
    flow = _solve(attention, question, answer, answer_tokens)
    fed = question & (flow.reach > 0)
    unfed = ~fed.any(1) & torch.isfinite(flow.reach).all(1)
    check_in_range((is_sound(flow) | unfed) & ~underflows(flow, largest), attention.dtype)
    check_reachable(fed)
    return flow


def send_flow(
    attention: Tensor | AttentionRows,
    question: Tensor,
    answer: Tensor,
    *,
    answer_tokens: AnswerTokens = "absorb",
) -> AnswerFlow:
    """`answer_flow` without its checks: a row that it would refuse has no flow at all.

    For a training step, where one odd response must not raise.
    """
    flow = _solve(attention, question, answer, answer_tokens)
    sound = is_sound(flow)[:, None]
    parts = ("potential", "inflow", "throughput", "passage", "reach")
    return replace(flow, **{name: torch.where(sound, getattr(flow, name), 0.0) for name in parts})


def is_sound(flow: AnswerFlow) -> Tensor:
    """Whether each row's values are finite and its unit of flow arrives, (B,) bool.

    What arrives is the sum over answer tokens of `f(k) sink(k) / h(k)`.
    """
    tolerance = 1e-6 if flow.reach.dtype == torch.float64 else 1e-2
    arrived = (flow.passage * flow.sinks).sum(1)
    finite = (
        torch.isfinite(flow.potential) & torch.isfinite(flow.reach) & torch.isfinite(flow.inflow)
    )
    return finite.all(1) & ((arrived - 1).abs() < tolerance)


def underflows(flow: AnswerFlow, largest: Tensor) -> Tensor:
    """Rows whose lost influence, below the smallest number, edges above 1 would amplify, (B,) bool.

    They show by a token without potential that has an edge to one with potential. Where no edge is
    above 1, as after a softmax, what is lost stays below the smallest number. largest: (B,).
    """
    amplified = largest > 1.01  # our choice: the mean of softmaxes may round to a little above 1
    if not bool(amplified.any()):
        return amplified
    edges = rows_of(flow.attention, 0, flow.attention.shape[1]).tril(-1)
    linked = ((edges > 0) & (flow.reach > 0)[:, :, None]).any(1)
    return amplified & (linked & (flow.reach == 0)).any(1)


def _solve(
    attention: Tensor | AttentionRows, question: Tensor, answer: Tensor, answer_tokens: AnswerTokens
) -> AnswerFlow:
    """Both solves, without any check."""
    dtype = working_dtype(attention.device)
    sink = answer.to(dtype)
    relays = (sink == 0).to(dtype) if answer_tokens == "absorb" else torch.ones_like(sink)

    dense = isinstance(attention, Tensor) and worth_it(*sink.shape)
    if dense and kernels_run(attention.device):
        potential, passage = solve_flow(attention, question, sink, relays)
    else:
        read = read_twice(attention)
        potential = solve_potential(read, sink, relays)
        potential = torch.where(potential < torch.finfo(dtype).tiny, 0.0, potential)
        reachable = potential > 0
        fed = question & reachable
        source = fed.to(dtype) / fed.sum(1, keepdim=True).clamp(min=1)
        entering = torch.where(fed, source / potential, 0.0)
        passage = solve_passage(read, entering, relays, reachable)
    inflow = potential * passage

    return AnswerFlow(
        potential=potential.to(attention.dtype),
        inflow=inflow.to(attention.dtype),
        throughput=(2 * inflow).to(attention.dtype),
        attention=attention,
        passage=passage,
        reach=potential,
        sinks=sink,
        relays=relays,
    )
