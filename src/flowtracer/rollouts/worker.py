"""One worker: a model, and the shards that it scores one after another."""

import os
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch

from flowtracer.attention import AttentionCaptureError
from flowtracer.credit import (
    Credit,
    ScoreBatch,
    TokenCredit,
    apply_credit,
    score_batch,
    structural_vocabulary,
    token_credit,
)
from flowtracer.models import Loaded, load
from flowtracer.models.padding import pad_rows
from flowtracer.rollouts.parts import PartCounts, run_of, write_part
from flowtracer.rollouts.rollout import Limits, Rollout, read_rollout
from flowtracer.rollouts.shards import Damaged, Shard, ShardReader


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


class Worker:
    """Loads a model once and scores shards; threads are set before, as PyTorch asks."""

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
        tokenizer, config = self.loaded.tokenizer, self.loaded.model.config.get_text_config()
        self.limits = Limits(config.vocab_size, settings.max_tokens)
        self.delimiters = (
            structural_vocabulary(tokenizer) if settings.credit.needs_structure else None
        )

    def score(self, shard: Shard) -> Done:
        """Score a shard and write its part and its errors."""
        good: list[dict[str, Any]] = []
        errors: list[dict[str, Any]] = []
        tokens = 0
        for rollouts in self._windows(shard, errors):
            tokens += sum(rollout.tokens for rollout in rollouts)
            good += self._score(shard, rollouts, errors)
        good.sort(key=lambda entry: entry["row"])
        errors.sort(key=lambda entry: entry["row"])
        counts = write_part(self.folder, shard.number, good, errors, run=self.run)
        return Done(shard.number, **asdict(counts), tokens=tokens)

    def _windows(self, shard: Shard, errors: list[dict[str, Any]]) -> Iterator[list[Rollout]]:
        """Rollouts of a shard, as many together as the budget of tokens allows."""
        window: list[Rollout] = []
        longest = 0
        for row, record in self.reader.read(shard):
            try:
                if isinstance(record, Damaged):
                    raise ValueError(record.reason)
                rollout = read_rollout(
                    self.loaded.tokenizer,
                    record,
                    row,
                    limits=self.limits,
                    chat=self.settings.chat,
                )
            except Exception as error:  # a chat template can raise anything on an odd conversation
                errors.append(_error(shard, row, error))
                continue
            longest = max(longest, rollout.tokens)
            if window and longest * (len(window) + 1) > self.settings.batch_tokens:
                yield window
                window, longest = [], rollout.tokens
            window.append(rollout)
        if window:
            yield window

    def _score(
        self, shard: Shard, rollouts: list[Rollout], errors: list[dict[str, Any]]
    ) -> list[dict[str, Any]]:
        """Rows of a window; if it cannot be scored together, of each rollout alone."""
        try:
            batch = self._batch(rollouts)
            credit = token_credit(self.loaded.model, batch, self.settings.credit)
        except AttentionCaptureError:
            raise  # no row of any shard can be scored with this model
        except (ValueError, IndexError, torch.OutOfMemoryError) as error:
            # Anything else is the machine's fault: the shard stays to be done.
            reason = _error(shard, rollouts[0].row, error)
        else:
            return [_row(rollout, batch, credit, number) for number, rollout in enumerate(rollouts)]
        # Out here, where the error no longer holds on to what the batch took.
        if len(rollouts) > 1:
            return [row for alone in rollouts for row in self._score(shard, [alone], errors)]
        errors.append(reason)
        return []

    def _batch(self, rollouts: list[Rollout]) -> ScoreBatch:
        prompts, prompt_mask = pad_rows([rollout.prompt_ids for rollout in rollouts], left=True)
        responses, mask = pad_rows([rollout.response_ids for rollout in rollouts], left=False)
        response_mask, _ = pad_rows([rollout.response_mask for rollout in rollouts], left=False)
        batch = score_batch(
            self.loaded.tokenizer,
            prompt_ids=prompts,
            prompt_mask=prompt_mask,
            completion_ids=responses,
            completion_mask=mask,
            tool_mask=response_mask,
            answer=self.settings.credit.answer,
            steps=self.settings.credit.steps,
            delimiters=self.delimiters,
        )
        start = prompts.shape[1]
        for number, rollout in enumerate(rollouts):
            if rollout.answer is not None:
                answer = torch.tensor(rollout.answer) * torch.tensor(rollout.response_mask)
                batch.answer[number, start:] = 0.0
                batch.answer[number, start : start + len(answer)] = answer
        return batch


def _row(rollout: Rollout, batch: ScoreBatch, credit: TokenCredit, number: int) -> dict[str, Any]:
    """A row of the result, without padding."""
    real = batch.attention_mask[number] > 0
    weights = credit.weights[number][real]
    candidates = batch.candidates[number][real]
    advantages = None
    if rollout.advantages is not None:
        response = slice(len(rollout.prompt_ids), None)
        advantages = apply_credit(
            torch.tensor([rollout.advantages]), weights[None, response], candidates[None, response]
        )[0].tolist()
    return {
        "row": rollout.row,
        "id": rollout.id,
        "prompt_tokens": len(rollout.prompt_ids),
        "token_ids": [*rollout.prompt_ids, *rollout.response_ids],
        "candidate": candidates.tolist(),
        "answer": batch.answer[number][real].tolist(),
        "score": credit.scores[number][real].tolist(),
        "weight": weights.tolist(),
        "answered": bool(credit.answered[number]),
        "scored": bool(credit.scored[number]),
        "advantages": advantages,
    }


def _error(shard: Shard, row: int, error: Exception) -> dict[str, Any]:
    return {
        "row": row,
        "file": Path(shard.path).name,
        "row_of_file": shard.start + row - shard.first,
        "reason": _one_line(error),
    }


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())[:500] or type(error).__name__
