"""`flowtracer score`: every rollout of some files, once, whatever happens in between."""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from flowtracer.attention import select_layers
from flowtracer.models import load_config
from flowtracer.models.layer_kinds import check_readable, unseen_layers
from flowtracer.rollouts.engines import ENGINES
from flowtracer.rollouts.parts import (
    SETTINGS_FILE,
    PartCounts,
    errors_path,
    read_counts,
    remove_strangers,
    run_of,
)
from flowtracer.rollouts.shards import find_files, plan
from flowtracer.rollouts.worker import ScoreSettings
from flowtracer.storage import atomic_write, check_settings, lock, sha256, write_json

SHARD_ROWS = 256  # our choice: a kill costs at most the work on so many rows
Progress = Callable[[int, int, int], None]  # rows done, rows in all, tokens of this run


@dataclass(frozen=True)
class Scored:
    """What is in the folder: scored rows, those of them with an answer, errors, and parts."""

    rows: int
    answered: int
    errors: int
    parts: int


def score_files(
    source: Path,
    folder: Path,
    settings: ScoreSettings,
    *,
    engine: str = "local",
    workers: int | None = None,
    shard_rows: int = SHARD_ROWS,
    progress: Progress = lambda done, total, tokens: None,
) -> Scored:
    """Score what is missing; `folder` then holds parts/, errors.jsonl and manifest.json.

    The input is cut into shards; a shard is done when its part exists and belongs to this run, and parts
    are written atomically. A run that was killed continues, and nothing is lost or duplicated; parts
    that are damaged, or of other settings or contents of the input, are written again.

    workers: of engine "ray"; None for as many as GPUs, at least one.

    Raises ValueError for wrong input, a folder of other settings or in use, an unknown engine.
    """
    if engine not in ENGINES:
        raise ValueError(f"engine {engine!r} is unknown; use {' or '.join(ENGINES)}")
    if (workers is not None and workers < 1) or shard_rows < 1:
        raise ValueError("workers and rows of a shard must be at least 1")
    files = find_files(source)
    with lock(folder, "another run"):
        hashes = {path.name: sha256(path) for path in files}
        what = (
            asdict(settings) | {"input": hashes, "shard_rows": shard_rows} | hybrid_layers(settings)
        )
        check_settings(folder / SETTINGS_FILE, what, what="scores")
        run = run_of(folder)
        shards = plan(files, shard_rows)
        remove_strangers(folder, len(shards))
        counts = {shard.number: read_counts(folder, shard.number, run=run) for shard in shards}
        missing = [shard for shard in shards if counts[shard.number].total != shard.rows]
        total = sum(shard.rows for shard in shards)
        done = total - sum(shard.rows for shard in missing)
        tokens = 0
        progress(done, total, tokens)
        if missing:
            (folder / "manifest.json").unlink(missing_ok=True)
            local = Path(settings.model)  # workers may live in other folders
            model = str(local.resolve()) if local.exists() else settings.model
            located = replace(settings, model=model)
            for result in ENGINES[engine](missing, located, str(folder.resolve()), workers):
                counts[result.number] = result.counts
                done += result.counts.total
                tokens += result.tokens
                progress(done, total, tokens)
        return _finish(folder, list(counts.values()), total)


def hybrid_layers(settings: ScoreSettings) -> dict[str, list[int]]:
    """Of a hybrid model the layers whose attention is read, and those of which more is not seen."""
    config = load_config(settings.model, trust_remote_code=settings.trust_remote_code)
    text = config.get_text_config()
    unseen = unseen_layers(text)
    if not unseen:
        return {}
    softmax = check_readable(text, str(config.model_type))
    layers = select_layers(settings.credit.options.layers, text.num_hidden_layers, softmax=softmax)
    return {"layers": list(layers), "unseen_layers": list(unseen)}


def _finish(folder: Path, counts: Sequence[PartCounts], total: int) -> Scored:
    """Put the errors together and write the manifest."""
    sums = sum(counts, PartCounts())
    if sums.total != total:
        raise ValueError(f"{folder}: holds {sums.total} of {total} rows; run the command again")
    with (
        atomic_write(folder / "errors.jsonl") as partial,
        partial.open("w", encoding="utf-8") as file,
    ):
        for number in range(len(counts)):
            file.write(errors_path(folder, number).read_text(encoding="utf-8"))
    scored = Scored(**asdict(sums), parts=len(counts))
    write_json(folder / "manifest.json", asdict(scored))
    return scored
