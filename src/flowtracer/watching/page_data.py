"""The data of the page of rollouts: bounded in size, and what was left out said."""

from collections.abc import Sequence
from math import isfinite
from typing import Any

from flowtracer.render.visible import visible
from flowtracer.watching.choice import evenly
from flowtracer.watching.rollout import WatchedFile, WatchedRollout

MOST_TOKENS = 300_000  # of a page, our choice: some 5 MB
MOST_TOKENS_OF_ONE = 8_192  # of a response, our choice: the first and last halves are kept
MOST_PROMPT = 20_000  # characters, our choice
MOST_OF_TOKEN = 2_000  # characters, our choice: tables without tokens have words of any length
QUANTILE = 0.98  # as of a trace's colours, our choice: a few tokens must not make all others pale


def page_data(
    watched: WatchedFile, *, most_tokens: int = MOST_TOKENS, title: str = ""
) -> dict[str, Any]:
    """Plain data for the page's scripts.

    vocabulary: [token id or null, text] and the text with all signs visible where that differs. Each
    rollout's lists have one entry a token: `t` are places in the vocabulary.
    """
    rollouts, notes = bounded(watched.rollouts, most_tokens)
    vocabulary: dict[tuple[int | None, str], int] = {}
    prompts: dict[str, int] = {}
    rows = []
    for rollout in rollouts:
        rows.append(_row(rollout, vocabulary, prompts))
    return {
        "version": 1,
        "title": title or watched.title,
        "vocabulary": [
            [number, text] if visible(text) == text else [number, text, visible(text)]
            for number, text in vocabulary
        ],
        "prompts": [[text] if visible(text) == text else [text, visible(text)] for text in prompts],
        "rollouts": rows,
        "scale": _scales(rollouts),
        "scoreName": watched.score_name,
        "notes": [*watched.notes, *notes],
    }


def bounded(
    rollouts: Sequence[WatchedRollout], most_tokens: int
) -> tuple[list[WatchedRollout], list[str]]:
    """Whole steps, evenly spaced, of at most so many tokens, and sentences on what was left out.

    Rollouts without a step are left out from the end.
    """
    size = [min(len(rollout.tokens), MOST_TOKENS_OF_ONE) for rollout in rollouts]
    if sum(size) <= most_tokens:
        return list(rollouts), []
    steps = sorted({rollout.step for rollout in rollouts if rollout.step is not None})
    count = len(steps)
    kept = set(steps)
    while count > 1:
        kept = set(evenly(steps, count))
        tokens = sum(n for n, rollout in zip(size, rollouts, strict=True) if rollout.step in kept)
        if tokens <= most_tokens:
            break
        count = min(count - 1, max(1, int(count * most_tokens / tokens)))
    if count == 1:
        kept = {steps[-1]}
    chosen: list[WatchedRollout] = []
    total = 0
    for n, rollout in zip(size, rollouts, strict=True):
        if steps and rollout.step not in kept:
            continue
        if chosen and total + n > most_tokens:
            break
        chosen.append(rollout)
        total += n
    left_out = f"{len(rollouts) - len(chosen)} of {len(rollouts)} rollouts"
    of_steps = (
        f", {len(steps) - len(kept)} of {len(steps)} steps," if len(kept) < len(steps) else ""
    )
    return chosen, [f"{left_out}{of_steps} are left out to keep the page small; the files have all"]


def _row(
    rollout: WatchedRollout,
    vocabulary: dict[tuple[int | None, str], int],
    prompts: dict[str, int],
) -> dict[str, Any]:
    keep = _kept(len(rollout.tokens))
    ids: Sequence[int | None] = (
        rollout.token_ids if rollout.token_ids else [None] * len(rollout.tokens)
    )
    row: dict[str, Any] = {
        "step": rollout.step,
        "row": rollout.row,
        "prompt": prompts.setdefault(_shortened(rollout.prompt, MOST_PROMPT), len(prompts)),
        "reward": _number(rollout.reward),
        "rewards": {name: _number(value) for name, value in rollout.rewards.items()},
        "advantage": _number(rollout.advantage),
        "answered": rollout.answered,
        "tokens": len(rollout.tokens),
        "gap": None if len(keep) == len(rollout.tokens) else len(keep) // 2,
        "t": [
            vocabulary.setdefault(
                (ids[i], _shortened(rollout.tokens[i], MOST_OF_TOKEN)), len(vocabulary)
            )
            for i in keep
        ],
    }
    lists = {"w": rollout.weights, "s": rollout.scores, "a": rollout.advantages}
    for name, values in lists.items():
        if values is not None:
            row[name] = _short_list([values[i] for i in keep])
    if rollout.answer is not None:
        row["answer"] = [position for position, i in enumerate(keep) if rollout.answer[i] > 0]
    if rollout.candidates is not None and not all(rollout.candidates):
        row["other"] = [position for position, i in enumerate(keep) if not rollout.candidates[i]]
    return row


def _kept(count: int) -> list[int]:
    """Tokens of a response that the page has: all, or the first and last ones."""
    if count <= MOST_TOKENS_OF_ONE:
        return list(range(count))
    half = MOST_TOKENS_OF_ONE // 2
    return [*range(half), *range(count - half, count)]


def _shortened(text: str, most: int) -> str:
    """At most so many characters of a text, its first and last ones, and how many are left out."""
    if len(text) <= most:
        return text
    half = most // 2
    return f"{text[:half]}\n... {len(text) - most} characters left out ...\n{text[-half:]}"


def _short_list(values: Sequence[float]) -> Any:
    """Four digits a number; one number for a list of equal ones."""
    short = [_number(value) or 0 for value in values]
    return short[0] if short and all(value == short[0] for value in short) else short


def _number(value: float | None) -> float | int | None:
    if value is None or not isfinite(value):
        return None
    short = float(f"{value:.4g}")
    return int(short) if short.is_integer() and abs(short) < 1e6 else short


def _scales(rollouts: Sequence[WatchedRollout]) -> dict[str, float]:
    """The value of each kind that has the full colour: the 98% quantile of those that are not neutral."""
    values: dict[str, list[float]] = {"weight": [], "score": [], "advantage": [], "product": []}
    for rollout in rollouts:
        values["weight"] += [abs(value - 1) for value in rollout.weights or ()]
        values["score"] += list(rollout.scores or ())
        values["product"] += [abs(value) for value in rollout.advantages or ()]
        values["advantage"] += [] if rollout.advantage is None else [abs(rollout.advantage)]
    scales = {}
    for name, numbers in values.items():
        used = sorted(value for value in numbers if value > 0 and isfinite(value))
        full = used[min(len(used) - 1, int(QUANTILE * len(used)))] if used else 1.0
        scales[name] = float(f"{full:.4g}")
    return scales
