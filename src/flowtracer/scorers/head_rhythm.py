"""Local and global heads: the scores of "Attention Illuminates LLM Reasoning" (arXiv 2510.13554).

Local heads show where a chunk of text begins (WAAD drops), global heads which tokens later parts of the
response attend to (FAI). What is left open there is decided here as our choice: spans and groups
of heads are taken per response, ratios of heads are rounded down to at least one head, ties go to the
earlier head, and "the next" and "previous" tokens are those of the response, tool output left out.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from flowtracer.scorers.head_statistics import HeadStatistics
from flowtracer.scorers.scorer import Evidence, ScoreOptions

HEAD_PERCENT = 30  # of heads that are local, and that are global; the source's value
BEFORE = 3  # k, how many tokens before an anchor may be its introduction; the source names 1 to 3
PASSED_ON = 0.5  # alpha


def waad(evidence: Evidence, options: ScoreOptions) -> Tensor:
    """`Delta_t = |WAAD_t - WAAD_{t+1}|`, local-chunk credit, (B, T).

    `WAAD_t = sum over s <= t of A_loc[t, s] min(t - s, 10)`, A_loc the mean of the 30% of heads with
    the smallest span. The last token of the response has no next one and scores 0 (our choice).
    """
    assert evidence.heads is not None
    local, _ = group_heads(evidence.heads)
    return _in_response(change, evidence.batch.candidates, local)


def fai(evidence: Evidence, options: ScoreOptions) -> Tensor:
    """`FAI_s = mean of A_glob[t, s] over response tokens t in [s + 10, s + 100]`, (B, T).

    Global-anchor credit; A_glob is the mean of the 30% of heads with the largest span. 0 where the
    response ends before s + 10 (our choice).
    """
    assert evidence.heads is not None
    _, ahead = group_heads(evidence.heads)
    return ahead * evidence.batch.candidates


def rhythm(evidence: Evidence, options: ScoreOptions) -> Tensor:
    """Coupled rhythm credit: anchors share with the token that introduced them, (B, T).

    A token's credit is its FAI. It is locally dominated if `WAAD_t <= median WAAD` and the largest
    Delta of the k = 3 response tokens before it is at least the median Delta; then it keeps
    `1 - alpha` of its credit and passes `alpha = 0.5` to the token of that largest Delta.

    The source couples credit so but gives neither thresholds, nor alpha, nor how the introduction is
    found: medians, alpha, k and argmax are a third party's reading. Our choices: every token is an
    anchor by as much as its FAI (selection comes later), ties go to the earlier token, medians are
    the lower of two middle values, and a first token, with none before it, keeps all.
    """
    assert evidence.heads is not None
    local, ahead = group_heads(evidence.heads)
    return _in_response(couple, evidence.batch.candidates, local, ahead)


def group_heads(heads: HeadStatistics) -> tuple[Tensor, Tensor]:
    """WAAD of local heads and FAI of global heads, (B, T) each, grouped row by row."""
    count = max(1, heads.span.shape[1] * HEAD_PERCENT // 100)
    order = heads.span.argsort(dim=1, stable=True)
    reverse = heads.span.argsort(dim=1, descending=True, stable=True)
    return _mean_of(heads.waad, order[:, :count]), _mean_of(heads.fai, reverse[:, :count])


def change(real: Tensor, local: Tensor) -> Tensor:
    """`|WAAD_t - WAAD_{t+1}|` for tokens in order, those of the response first.

    Shapes: real (B, N) bool, local (B, N). Returns (B, N), 0 at the last real token.
    """
    delta = torch.zeros_like(local)
    delta[:, :-1] = (local[:, :-1] - local[:, 1:]).abs() * real[:, 1:]
    return delta


def couple(real: Tensor, local: Tensor, ahead: Tensor) -> Tensor:
    """Credit FAI, shared by dominated anchors, for tokens in order, those of the response first.

    Shapes: real (B, N) bool, local WAAD (B, N), ahead FAI (B, N). Returns (B, N).
    """
    delta = change(real, local)
    before = torch.stack([_later(delta, by) for by in range(BEFORE, 0, -1)])
    largest, which = before.max(0).values, before.argmax(0)  # the first of equals is the earliest
    dominated = real & (local <= _median(local, real)) & (largest >= _median(delta, real))

    credit = torch.where(real, ahead, 0.0)
    passed = torch.where(dominated, PASSED_ON * credit, 0.0)
    position = torch.arange(real.shape[1], device=real.device)
    introduction = (position - BEFORE + which).clamp(min=0)
    return (credit - passed).scatter_add(1, introduction, passed)


def _in_response(rule: Callable[..., Tensor], candidates: Tensor, *values: Tensor) -> Tensor:
    """Apply a rule to the response's tokens moved together, and put its results back; (B, T)."""
    order = (~candidates).int().argsort(dim=1, stable=True)
    moved = [value.gather(1, order) for value in (candidates, *values)]
    scores = rule(*moved) * moved[0]
    return torch.zeros_like(scores).scatter(1, order, scores)


def _later(delta: Tensor, by: int) -> Tensor:
    """What stood `by` tokens before, (B, N); below any Delta where there was nothing."""
    return torch.nn.functional.pad(delta, (by, 0), value=-1.0)[:, : delta.shape[1]]


def _median(values: Tensor, real: Tensor) -> Tensor:
    """Median of the real tokens, (B, 1); NaN, which compares false, if there are none."""
    return values.masked_fill(~real, torch.nan).nanmedian(1, keepdim=True).values


def _mean_of(values: Tensor, heads: Tensor) -> Tensor:
    """Mean over some heads of each row. Shapes: values (B, heads, T), heads (B, n). Returns (B, T)."""
    index = heads[:, :, None].expand(-1, -1, values.shape[2])
    return values.gather(1, index).mean(1)
