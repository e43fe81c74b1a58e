"""prime-rl's token export as rollouts: JSON Lines that its trainer writes with `enable_token_export`.

The fields are those of `prime_rl/trainer/rl/token_export.py` with schema_version 1, one record a sequence:
`step`, `rank`, `export_sequence_idx`, `env_name`, and lists with one entry a token, of which `token_ids`,
`loss_mask`, `advantages`, `rewards` and `entropy` are read; values may be null.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from flowtracer.records import Kind, check_kind, parse_record, read_lines
from flowtracer.watching.rollout import WatchedFile, WatchedRollout
from flowtracer.watching.scored import ids_as_text

VERSION = 1
NUMBERS: Kind = [float | None]
FIELDS: dict[str, Kind] = {
    "schema_version": int,
    "step": int,
    "token_ids": [int],
    "loss_mask": [bool],
    "advantages": NUMBERS,
    "rewards?": NUMBERS,
    "entropy?": NUMBERS,
    "export_sequence_idx?": int | None,
}


def is_token_export(record: Mapping[str, Any]) -> bool:
    """Whether a record is one of prime-rl's token export."""
    return {"schema_version", "token_ids", "loss_mask", "advantages"} <= record.keys()


def read_token_exports(
    files: Sequence[Path], *, rows: int, decode: Callable[[Sequence[int]], Sequence[str]] | None
) -> WatchedFile:
    """Records of the files, as many of each so that no more than `rows` are read."""
    each = max(1, rows // len(files))
    rollouts = []
    left_out = len(files) > rows
    for file in files[: max(1, rows)]:
        for number, (where, record) in enumerate(_complete_records(file)):
            if number == each:
                left_out = True
                break
            try:
                check_kind(record, FIELDS, "the record")
                rollouts.append(_rollout(record, decode or ids_as_text))
            except ValueError as error:
                raise ValueError(f"{where}: {error}; is it a token export of prime-rl?") from None
    notes = []
    if left_out:
        notes.append(
            f"at most {each} sequences of each of {len(files)} files are shown; --rows shows more"
        )
    if decode is None:
        notes.append("the files hold token ids and no text; --tokenizer MODEL shows the text")
    return WatchedFile(rollouts, "prime-rl token export", notes, score_name="entropy")


def _complete_records(file: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """As `read_records`, without a last line that is being written."""
    for number, _, line in read_lines(file):
        where = f"{file}, line {number}"
        try:
            record = parse_record(line)
        except ValueError as error:
            if not line.endswith(b"\n"):
                return
            raise ValueError(f"{where}: {error}; repair or delete the line") from None
        yield where, record


def _rollout(
    record: dict[str, Any], decode: Callable[[Sequence[int]], Sequence[str]]
) -> WatchedRollout:
    if record["schema_version"] != VERSION:
        raise ValueError(
            f"schema_version is {record['schema_version']}, this flowtracer reads {VERSION}"
        )
    ids, mask = record["token_ids"], record["loss_mask"]
    rewards, entropy = (record.get(name) or None for name in ("rewards", "entropy"))
    columns = {
        "loss_mask": mask,
        "advantages": record["advantages"],
        "rewards": rewards,
        "entropy": entropy,
    }
    odd = [
        name for name, values in columns.items() if values is not None and len(values) != len(ids)
    ]
    if odd:
        raise ValueError(f"{odd[0]} has another length than token_ids")
    start = mask.index(True) if True in mask else 0
    advantages = [
        value if value is not None and use else 0.0
        for value, use in zip(record["advantages"], mask, strict=True)
    ]
    of_loss = [value for value, use in zip(advantages, mask, strict=True) if use]
    numbers = [value for value in rewards or () if value is not None]
    return WatchedRollout(
        token_ids=ids[start:],
        tokens=decode(ids[start:]),
        prompt="".join(decode(ids[:start])),
        step=record["step"],
        row=record.get("export_sequence_idx") or 0,
        scores=None if entropy is None else [value or 0.0 for value in entropy[start:]],
        advantages=advantages[start:],
        advantage=of_loss[0] if len(set(of_loss)) == 1 else None,
        reward=numbers[-1] if numbers else None,
        candidates=mask[start:],
    )
