"""One worker: a model, and the shards that it scores one after another."""

import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import pyarrow
import torch
from transformers import PreTrainedConfig, PreTrainedTokenizerBase

from flowtracer.attention import AttentionCaptureError
from flowtracer.credit import Credit, ScoreBatch, structural_vocabulary, token_credit
from flowtracer.models import Loaded, load
from flowtracer.rollouts.columns import columns
from flowtracer.rollouts.parts import PartCounts, run_of, write_part
from flowtracer.rollouts.pipeline import ahead, behind
from flowtracer.rollouts.rollout import Limits, Rollout
from flowtracer.rollouts.shards import Shard, ShardReader
from flowtracer.rollouts.windows import Reading, Window, error_row, make_batch, read_windows

AHEAD = 2  # windows, our choice: the model does not wait if one of them takes long to read


@dataclass(frozen=True)
class ScoreSettings:
    """What decides the rows that come out."""

    model: str
    credit: Credit = field(default_factory=Credit)
    dtype: str = "auto"
    device: str = "auto"
    max_tokens: int = 32_768
    batch_tokens: int = 65_536  # of the rollouts that are scored together, our choice
    chat: bool | None = None
    trust_remote_code: bool = False


@dataclass(frozen=True)
class Done:
    """What became of a shard, in plain numbers: Ray carries it as JSON."""

    number: int
    rows: int
    answered: int
    errors: int
    tokens: int

    @property
    def counts(self) -> PartCounts:
        return PartCounts(self.rows, self.answered, self.errors)


@dataclass(frozen=True)
class _Part:
    """What is to be written of a shard."""

    shard: Shard
    rows: Sequence[pyarrow.RecordBatch]
    errors: Sequence[dict[str, Any]]
    tokens: int


def reading_of(
    settings: ScoreSettings, tokenizer: PreTrainedTokenizerBase, config: PreTrainedConfig
) -> Reading:
    """How rows are read for a model with this tokenizer and config."""
    structure = settings.credit.needs_structure
    return Reading(
        tokenizer,
        settings.credit,
        Limits(config.get_text_config().vocab_size, settings.max_tokens),
        settings.batch_tokens,
        settings.chat,
        structural_vocabulary(tokenizer) if structure else None,
    )


class Worker:
    """Loads a model once and scores shards; threads are set before, as PyTorch requires."""

    def __init__(self, settings: ScoreSettings, folder: str, threads: int | None = None) -> None:
        if threads:
            os.environ["OMP_NUM_THREADS"] = str(threads)
            torch.set_num_threads(threads)
        settings.credit.check_token_ids()
        self.settings = settings
        self.folder = Path(folder)
        self.run = run_of(self.folder)
        self.reader = ShardReader()
        self.loaded: Loaded = load(
            settings.model,
            dtype=settings.dtype,
            device=settings.device,
            trust_remote_code=settings.trust_remote_code,
        )
        settings.credit.check_model(self.loaded.model)
        self.reading = reading_of(settings, self.loaded.tokenizer, self.loaded.model.config)

    def score(self, shards: Iterable[Shard], *, most: int = AHEAD) -> Iterator[Done]:
        """Score shards in order and write their parts and errors.

        The next windows are read, and the last part is written, while the model runs. most: windows
        that wait for the model, and parts for the disk; 0 does one thing after another.
        """
        with closing(ahead(read_windows(self.reader, shards, self.reading), most)) as windows:
            yield from self.score_windows(windows, most=most)

    def score_windows(self, windows: Iterable[Window], *, most: int = AHEAD) -> Iterator[Done]:
        """Score windows of whole shards, in order, and write their parts and errors."""
        yield from behind(self._write, self._scored(windows), most)

    def _scored(self, windows: Iterable[Window]) -> Iterator[_Part]:
        """What is to be written of each shard."""
        rows: list[pyarrow.RecordBatch] = []
        errors: list[dict[str, Any]] = []
        tokens = 0
        for window in windows:
            errors += window.errors
            if window.rollouts:
                tokens += sum(rollout.tokens for rollout in window.rollouts)
                rows += self._score(window.shard, window.rollouts, window.batch, errors)
            if window.last:
                yield _Part(window.shard, rows, errors, tokens)
                rows, errors, tokens = [], [], 0

    def _score(
        self,
        shard: Shard,
        rollouts: Sequence[Rollout],
        batch: ScoreBatch | None,
        errors: list[dict[str, Any]],
    ) -> list[pyarrow.RecordBatch]:
        """Rows of a window; if it cannot be scored together, of each rollout alone."""
        try:
            batch = make_batch(rollouts, self.reading) if batch is None else batch
            credit = token_credit(self.loaded.model, batch, self.settings.credit)
        except AttentionCaptureError:
            raise  # no row of any shard can be scored with this model
        except (ValueError, IndexError, torch.OutOfMemoryError) as error:
            # Anything else is the machine's fault: the shard stays to be done.
            reason = error_row(shard, rollouts[0].row, error)
        else:
            return [columns(rollouts, batch, credit)]
        # Out here, where the error no longer holds on to what the batch took.
        if len(rollouts) > 1:
            return [
                row for rollout in rollouts for row in self._score(shard, [rollout], None, errors)
            ]
        errors.append(reason)
        return []

    def _write(self, part: _Part) -> Done:
        errors = sorted(part.errors, key=lambda error: error["row"])
        counts = write_part(self.folder, part.shard.number, part.rows, errors, run=self.run)
        return Done(part.shard.number, **asdict(counts), tokens=part.tokens)
