"""`flowtracer score`: every rollout of some files, once, whatever happens in between."""

from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from flowtracer.rollouts.engines import ENGINES
from flowtracer.rollouts.parts import counts_of, errors_path, part_path
from flowtracer.rollouts.shards import find_files, plan
from flowtracer.rollouts.worker import ScoreSettings
from flowtracer.storage import atomic_write, check_settings, lock, write_json

SHARD_ROWS = 256  # our choice: a kill costs at most the work on so many rows
Progress = Callable[[int, int, int], None]  # rows done, rows in all, tokens of this run


@dataclass(frozen=True)
class Scored:
    """What came out."""

    rows: int
    errors: int
    parts: int


def score_files(
    source: Path,
    folder: Path,
    settings: ScoreSettings,
    *,
    engine: str = "local",
    workers: int = 1,
    shard_rows: int = SHARD_ROWS,
    progress: Progress = lambda done, total, tokens: None,
) -> Scored:
    """Score what is missing; `folder` then holds parts/, errors.jsonl and manifest.json.

    The input is cut into shards; a shard is done when its part is there, and parts appear whole or not
    at all. So a run that was killed goes on, and nothing is lost or there twice.

    Raises ValueError for wrong input, a folder of other settings or in use, an unknown engine.
    """
    if engine not in ENGINES:
        raise ValueError(f"engine {engine!r} is unknown; use {' or '.join(ENGINES)}")
    if workers < 1 or shard_rows < 1:
        raise ValueError("workers and rows of a shard must be at least 1")
    files = find_files(source)
    with lock(folder, "another run"):
        sizes = [[one.name, one.stat().st_size] for one in files]
        what = asdict(settings) | {"input": sizes, "shard_rows": shard_rows}
        check_settings(folder / "score.json", what, what="scores")
        shards = plan(files, shard_rows)
        total = sum(one.rows for one in shards)
        missing = [one for one in shards if not part_path(folder, one.number).exists()]
        done = total - sum(one.rows for one in missing)
        tokens = 0
        progress(done, total, tokens)
        if missing:
            local = Path(settings.model)  # workers may live in other folders
            model = str(local.resolve()) if local.exists() else settings.model
            given = replace(settings, model=model)
            for one in ENGINES[engine](missing, given, str(folder.resolve()), workers):
                done += one.rows + one.errors
                tokens += one.tokens
                progress(done, total, tokens)
        return _finish(folder, len(shards), total)


def _finish(folder: Path, parts: int, total: int) -> Scored:
    """Put the errors together and write the manifest."""
    counts = [counts_of(folder, number) for number in range(parts)]
    good, bad = (sum(column) for column in zip(*counts, strict=True))
    if good + bad != total:
        raise ValueError(
            f"{folder}: {good + bad} of {total} rows are there; remove it and start anew"
        )
    with (
        atomic_write(folder / "errors.jsonl") as partial,
        partial.open("w", encoding="utf-8") as file,
    ):
        for number in range(parts):
            file.write(errors_path(folder, number).read_text(encoding="utf-8"))
    write_json(folder / "manifest.json", {"rows": good, "errors": bad, "parts": parts})
    return Scored(good, bad, parts)
