"""What TRL's tensors say of one row of a batch: its tokens, its reward, and what credit gave its tokens."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from math import isnan, nan
from typing import Any

from flowtracer.credit.credit import TokenCredit
from flowtracer.scorers.batch import ScoreBatch
from flowtracer.watching.rollout import WatchedRollout


def rewarded(
    known: WatchedRollout,
    inputs: Mapping[str, Any],
    row: int,
    batch: ScoreBatch | None,
    credit: TokenCredit | None,
) -> WatchedRollout:
    """A rollout with what its tokens were given; it is row `row` of the loss's inputs."""
    mask = inputs["completion_mask"][row] > 0
    count = int(mask.sum())
    columns = slice(inputs["prompt_ids"].shape[1], None)
    own = inputs["advantages"][row]
    advantages = [float(own)] * count if own.dim() == 0 else own.expand(mask.shape)[mask].tolist()
    tools = inputs.get("tool_mask")
    values: dict[str, Any] = {
        "advantages": advantages,
        "candidates": [True] * count if tools is None else (tools[row] > 0)[mask].tolist(),
    }
    if credit is not None:
        values["weights"] = credit.weights[row, columns][mask].tolist()
        values["scores"] = credit.scores[row, columns][mask].tolist()
    elif known.advantage is not None:  # all that credit did is in the advantages
        scale = known.advantage
        values["weights"] = [advantage / scale if scale else 1.0 for advantage in advantages]
    if batch is not None:
        values["candidates"] = batch.candidates[row, columns][mask].tolist()
        values["answer"] = batch.answer[row, columns][mask].tolist()
        values["answered"] = bool(batch.scorable[row])
    return replace(known, **values)


def real_tokens(output: Mapping[str, Any], part: str, row: int) -> list[int]:
    """Token ids of a row's prompt or completion without padding."""
    ids: list[int] = output[f"{part}_ids"][row][output[f"{part}_mask"][row] > 0].tolist()
    return ids


def summed(
    by_function: Mapping[str, Sequence[float]], weights: Sequence[float], count: int
) -> list[float]:
    """Rewards of all functions as TRL sums them; nan where none of them gave one."""
    columns = list(zip(weights, by_function.values(), strict=True))
    totals = []
    for row in range(count):
        weighted = [weight * of[row] for weight, of in columns if not isnan(of[row])]
        totals.append(sum(weighted) if weighted else nan)
    return totals


def or_none(value: float) -> float | None:
    """A number, or None for nan."""
    return None if isnan(value) else value
