"""Parts of `flowtracer score` as rollouts; docs/score.md describes the columns."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from flowtracer.watching.rollout import WatchedFile, WatchedRollout
from flowtracer.watching.tables import count_rows, first_rows

COLUMNS = (
    "row", "prompt_tokens", "token_ids", "candidate", "answer", "score", "weight", "answered", "advantages",
)  # fmt: skip
MOST_COUNTED = 100  # parts whose rows are counted, our choice


def is_scored(columns: Sequence[str]) -> bool:
    """Whether a Parquet file with these columns is a part of `flowtracer score`."""
    return set(COLUMNS) <= set(columns)


def read_scored(
    files: Sequence[Path], *, rows: int, decode: Callable[[Sequence[int]], Sequence[str]] | None
) -> WatchedFile:
    """The first rows of the parts. decode: see `read_rollouts`."""
    rollouts = []
    for row in first_rows(files, COLUMNS, rows):
        rollouts.append(_rollout(row, decode or ids_as_text))
    notes = []
    total = sum(map(count_rows, files[:MOST_COUNTED]))
    if total > len(rollouts):
        more = " and more" if len(files) > MOST_COUNTED else ""
        notes.append(
            f"the first {len(rollouts)} of {total}{more} rows are shown; --rows shows more"
        )
    if decode is None:
        notes.append("the file holds token ids and no text; --tokenizer MODEL shows the text")
    return WatchedFile(rollouts, "flowtracer score", notes)


def ids_as_text(ids: Sequence[int]) -> list[str]:
    """Token ids in the place of texts that are not known."""
    return [f"{number} " for number in ids]


def _rollout(
    row: dict[str, Any], decode: Callable[[Sequence[int]], Sequence[str]]
) -> WatchedRollout:
    start = row["prompt_tokens"]
    ids = row["token_ids"]
    advantages = row["advantages"]
    return WatchedRollout(
        token_ids=ids[start:],
        tokens=decode(ids[start:]),
        prompt="".join(decode(ids[:start])),
        row=row["row"],
        weights=row["weight"][start:],
        scores=row["score"][start:],
        advantages=advantages,
        candidates=row["candidate"][start:],
        answer=row["answer"][start:],
        answered=row["answered"],
    )
