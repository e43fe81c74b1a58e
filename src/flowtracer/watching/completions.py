"""TRL's tables of completions (`log_completions`) as rollouts.

Columns: step, prompt, completion (text or messages), one for each reward function, what was logged besides,
advantage. Where this package's trainer wrote them, `credit_tokens` and `credit_weights` are among these.
"""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow.parquet as parquet

from flowtracer.watching.rollout import WatchedFile, WatchedRollout
from flowtracer.watching.scored import first_rows

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
        total += parquet.read_metadata(file).num_rows
        names = parquet.read_schema(file).names
        for number, row in enumerate(first_rows([file], names, each)):
            rollouts.append(_rollout(row, number))
            with_tokens = with_tokens and bool(row.get(TOKENS))
    notes = []
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
    contents = [one.get("content") if isinstance(one, dict) else one for one in messages]
    return "\n".join(text for text in map(_content, contents) if text)


def _content(content: object) -> str:
    """The text of a message, which may come in blocks."""
    if isinstance(content, list):
        return "".join(str(one.get("text") or "") for one in content if isinstance(one, dict))
    return "" if content is None else str(content)


def _rollout(row: dict[str, Any], number: int) -> WatchedRollout:
    tokens, weights = row.get(TOKENS), row.get(WEIGHTS)
    if not tokens:
        tokens, weights = WORDS.findall(text_of(row["completion"])), None
    if weights is not None and len(weights) != len(tokens):
        weights = None
    rewards = {
        name: float(value)
        for name, value in row.items()
        if name not in KNOWN and isinstance(value, int | float) and not isinstance(value, bool)
    }
    advantage = row.get("advantage")
    return WatchedRollout(
        token_ids=(),
        tokens=tokens,
        prompt=text_of(row["prompt"]),
        step=row["step"],
        row=number,
        weights=weights,
        advantage=advantage,
        advantages=None
        if advantage is None
        else [advantage * weight for weight in weights or [1.0] * len(tokens)],
        reward=sum(rewards.values()) if rewards else None,
        rewards=rewards,
    )
