"""TRL's tables of completions (`log_completions`) as rollouts.

Columns: step, prompt, completion (text or messages), one for each reward function, what was logged besides,
advantage. Where this package's trainer wrote them, `credit_tokens` and `credit_weights` are among these.
"""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from flowtracer.watching.rollout import WatchedFile, WatchedRollout
from flowtracer.watching.tables import count_rows, first_rows, read_schema

TOKENS, WEIGHTS = "credit_tokens", "credit_weights"
KNOWN = ("step", "prompt", "completion", "advantage", TOKENS, WEIGHTS)
WORDS = re.compile(r"\s*\S+|\s+$")


def is_completions(columns: Sequence[str]) -> bool:
    """Whether a Parquet file with these columns is a table of completions."""
    return {"step", "prompt", "completion"} <= set(columns)


def read_completions(files: Sequence[Path], *, rows: int) -> WatchedFile:
    """Rows of the tables, of each the first ones so that no more than `rows` are read."""
    each = max(1, rows // len(files))
    rollouts, total, with_tokens = [], 0, True
    for file in files[: max(1, rows)]:
        total += count_rows(file)
        names = read_schema(file).names
        for number, row in enumerate(first_rows([file], names, each)):
            rollouts.append(_rollout(row, number))
            with_tokens = with_tokens and bool(row.get(TOKENS))
    notes = []
    if any(len(rollout.rewards) > 1 for rollout in rollouts):
        notes.append(
            "the tables do not say how their figures make up the reward, so each figure is shown by itself"
        )
    if total > len(rollouts):
        notes.append(
            f"the first {each} rows of each of {len(files)} tables are shown; --rows shows more"
        )
    if not with_tokens:
        notes.append(
            "tables without tokens are shown word by word, and every word has its response's advantage"
        )
    return WatchedFile(rollouts, "TRL completions", notes)


def text_of(messages: object) -> str:
    """Text as it is, or the contents of messages one below the other."""
    if isinstance(messages, str):
        return messages
    if not isinstance(messages, list):
        return "" if messages is None else str(messages)
    contents = [
        message.get("content") if isinstance(message, dict) else message for message in messages
    ]
    return "\n".join(text for text in map(_content, contents) if text)


def _content(content: object) -> str:
    """The text of a message, which may come in blocks."""
    if isinstance(content, list):
        return "".join(str(part.get("text") or "") for part in content if isinstance(part, dict))
    return "" if content is None else str(content)


def figures(row: Mapping[str, Any]) -> list[str]:
    """Columns with a number: rewards by function, and figures that a reward function logged."""
    return [
        name
        for name, value in row.items()
        if name not in KNOWN and isinstance(value, int | float) and not isinstance(value, bool)
    ]


def _rollout(row: dict[str, Any], number: int) -> WatchedRollout:
    tokens, weights = row.get(TOKENS), row.get(WEIGHTS)
    if not tokens:
        tokens, weights = WORDS.findall(text_of(row["completion"])), None
    if weights is not None and len(weights) != len(tokens):
        weights = None
    rewards = {name: row[name] for name in figures(row)}
    advantage, step = row.get("advantage"), row["step"]
    if isinstance(step, str) and step.isdecimal():  # as TRL wrote it before 0.20
        step = int(step)
    return WatchedRollout(
        token_ids=(),
        tokens=tokens,
        prompt=text_of(row["prompt"]),
        step=step,
        row=number,
        weights=weights,
        advantage=advantage,
        advantages=None
        if advantage is None
        else [advantage * weight for weight in weights or [1.0] * len(tokens)],
        reward=next(iter(rewards.values())) if len(rewards) == 1 else None,
        rewards=rewards,
    )
