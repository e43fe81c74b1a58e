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
    place: int,
    batch: ScoreBatch | None,
    credit: TokenCredit | None,
) -> WatchedRollout:
    """A rollout with what its tokens were given; it is row `place` of the loss's inputs."""
    mask = inputs["completion_mask"][place] > 0
    count = int(mask.sum())
    columns = slice(inputs["prompt_ids"].shape[1], None)
    given = inputs["advantages"][place]
    advantages = (
        [float(given)] * count if given.dim() == 0 else given.expand(mask.shape)[mask].tolist()
    )
    tools = inputs.get("tool_mask")
    values: dict[str, Any] = {
        "advantages": advantages,
        "candidates": [True] * count if tools is None else (tools[place] > 0)[mask].tolist(),
    }
    if credit is not None:
        values["weights"] = credit.weights[place, columns][mask].tolist()
        values["scores"] = credit.scores[place, columns][mask].tolist()
    elif known.advantage is not None:  # all that credit did is in the advantages
        scale = known.advantage
        values["weights"] = [one / scale if scale else 1.0 for one in advantages]
    if batch is not None:
        values["candidates"] = batch.candidates[place, columns][mask].tolist()
        values["answer"] = batch.answer[place, columns][mask].tolist()
        values["answered"] = bool(batch.scorable[place])
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
        given = [weight * of[row] for weight, of in columns if not isnan(of[row])]
        totals.append(sum(given) if given else nan)
    return totals


def or_none(value: float) -> float | None:
    """A number, or None for nan."""
    return None if isnan(value) else value
