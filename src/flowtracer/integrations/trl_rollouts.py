"""Rollouts of a TRL run, kept every N steps with what each token was rewarded.

Which rows are kept follows from rewards and advantages that TRL gathers for its own logs, so that processes
agree without a word. Steps that are not kept cost nothing. `RELIED_ON` is tested.
"""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import nan
from pathlib import Path
from typing import Any

import torch
from accelerate.utils import gather_object
from torch import Tensor
from transformers import TrainerCallback

from flowtracer.credit.credit import TokenCredit
from flowtracer.integrations.trl_rows import or_none, real_tokens, rewarded, summed
from flowtracer.integrations.trl_tables import add_to_table, begin_table
from flowtracer.regions.offsets import decode_all_with_offsets, decode_text
from flowtracer.scorers.batch import ScoreBatch
from flowtracer.watching.choice import chosen_rows
from flowtracer.watching.parts import remove_after, write_part
from flowtracer.watching.rollout import WatchedRollout, texts_of_tokens
from flowtracer.watching.run_page import report_html, save_run_page, warned

EVERY = 10  # steps, our choice
COUNT = 8  # rollouts of a step, our choice
PAGE_RATIO = 0.002  # of the time since the run began that writing the page may take, our choice
ROW = "rollout_row"  # a row's number in its process's batch, through TRL's shuffling and splitting
STATE = "FlowRollouts"
# Of the trainer: what it keeps for its own table, the global batch at the end; and how rewards are summed.
RELIED_ON = ("_logs", "reward_weights", "reward_func_names", "log_completions")


@dataclass
class Generation:
    """A batch of rollouts some of which are kept."""

    step: int
    chosen: Mapping[int, WatchedRollout]  # by row of this process, with what is known of it so far
    missing: int  # rows of this process without credit
    done: list[WatchedRollout] = field(default_factory=list)


class RolloutLog(TrainerCallback):
    """Keeps a few rollouts every `every` steps under a trainer's output folder.

    begin: to be called with each generated batch, before its advantages are weighed; add: with rows whose
    advantages are final. `seconds` is what both took in steps that were kept.
    """

    def __init__(self, trainer: Any, *, every: int = EVERY, count: int = COUNT) -> None:
        """every: 0 for never. count: rollouts of a step."""
        check_counts(every, count)
        self.trainer = trainer
        self.every = every
        self.count = count
        self.seconds = 0.0
        self._generation: Generation | None = None
        self._table_rows = 0  # of this process's batch in TRL's table
        self._began = time.perf_counter()
        self._page_seconds = 0.0

    @property
    def folder(self) -> Path:
        return Path(self.trainer.args.output_dir or ".")

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self._began = time.perf_counter()
        if self.every and state.is_world_process_zero:
            with warned("rollouts of an earlier run are not removed"):
                remove_after(self.folder, state.global_step)

    def on_train_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self.save_page()

    def save_page(self) -> None:
        """Write the page of the run, if any of its rollouts were kept."""
        if self.every and self.trainer.accelerator.is_main_process:
            save_run_page(self.folder)

    def begin(self, output: dict[str, Any]) -> None:
        """Look at a generated batch: TRL's own output, to which row numbers are added where rows are kept."""
        trainer, rows = self.trainer, len(output["advantages"])
        table = begin_table(trainer, rows)
        if not trainer.model.training:
            self._table_rows = (
                0  # the table has lost the rows of a batch that is being learned from
            )
            return
        self._generation = None
        self._table_rows = rows if table else 0
        step, start = trainer.state.global_step + 1, time.perf_counter()
        due = self._is_due(step)
        if table or due:
            output[ROW] = torch.arange(rows, device=output["completion_ids"].device)
        if due:
            # Whatever is odd about a response, training goes on, and every process gathers in the end.
            self._generation = Generation(step, {}, rows)
            with warned(f"rollouts of step {step} are not kept"):
                self._generation.chosen = self._choose(output, step)
            self.seconds += time.perf_counter() - start

    def add(
        self,
        inputs: dict[str, Any],
        batch: ScoreBatch | None = None,
        credit: TokenCredit | None = None,
    ) -> None:
        """Keep what was chosen of these rows, whose advantages are final; with the last rows, write.

        inputs: of the loss. batch, credit: of the same rows, as far as there are any.
        """
        rows: Tensor | None = inputs.pop(ROW, None)
        if rows is None:
            return
        start = time.perf_counter()
        numbers = rows.tolist()
        add_to_table(self.trainer, inputs, numbers, credit, batch_rows=self._table_rows)
        generation = self._generation
        if generation is None:
            return
        for row, number in enumerate(numbers):
            if number in generation.chosen:
                known = generation.chosen[number]
                with warned(f"a rollout of step {generation.step} is not kept"):
                    generation.done.append(rewarded(known, inputs, row, batch, credit))
        generation.missing -= len(numbers)
        if generation.missing <= 0:
            self._write(generation)
        self.seconds += time.perf_counter() - start
        if generation.missing <= 0:
            self.trainer._metrics["train"]["rollouts/seconds"].append(self.seconds)
            self.seconds = 0.0

    def _is_due(self, step: int) -> bool:
        """Whether no rollouts were kept yet of the `every` steps that this one is among."""
        if not self.every:
            return False
        last = self._state()["step"]
        return last < 1 or (step - 1) // self.every != (last - 1) // self.every

    def _state(self) -> dict[str, int]:
        """What is saved with a checkpoint: the last step whose rollouts were kept, 0 for none."""
        states: dict[str, Any] = self.trainer.state.stateful_callbacks
        state: dict[str, int] = states.setdefault(STATE, {"step": 0})
        return state

    def _choose(self, output: dict[str, Any], step: int) -> dict[int, WatchedRollout]:
        """The chosen rows of this process, with their rewards and texts."""
        trainer, rows = self.trainer, len(output["advantages"])
        total = rows * trainer.accelerator.num_processes
        first = rows * trainer.accelerator.process_index
        advantages, by_function = self._logged(output, total)
        rewards = summed(by_function, trainer.reward_weights.tolist(), total)
        grouped = output["advantages"].dim() == 1
        chosen = [
            row - first
            for row in chosen_rows(rewards, advantages, self.count)
            if first <= row < first + rows
        ]
        texts = self._texts(output, chosen)
        return {
            row: WatchedRollout(
                *tokens,
                prompt=prompt,
                step=step,
                row=first + row,
                advantage=advantages[first + row] if grouped else None,
                reward=or_none(rewards[first + row]),
                rewards={name: or_none(of[first + row]) for name, of in by_function.items()},
            )
            for row, (tokens, prompt) in zip(chosen, texts, strict=True)
        }

    def _logged(
        self, output: dict[str, Any], total: int
    ) -> tuple[list[float], dict[str, list[float]]]:
        """Advantages and rewards by function of all processes' rows, out of TRL's logs.

        A trainer that takes its rollouts from elsewhere logs none: rewards are then not known.
        """
        trainer, names = self.trainer, self.trainer.reward_func_names
        advantages = list(trainer._logs["advantages"])[-total:]
        by_function = {name: list(trainer._logs["rewards"][name])[-total:] for name in names}
        if all(len(values) == total for values in (advantages, *by_function.values())):
            return advantages, by_function
        local = output["advantages"].reshape(len(output["advantages"]), -1).float().mean(1)
        return trainer.accelerator.gather(local).tolist(), {name: [nan] * total for name in names}

    def _texts(
        self, output: dict[str, Any], rows: Sequence[int]
    ) -> list[tuple[tuple[list[int], list[str]], str]]:
        """Token ids and texts of the responses, and the prompts."""
        processor = self.trainer.processing_class
        tokenizer = getattr(processor, "tokenizer", processor)
        ids = [real_tokens(output, "completion", row) for row in rows]
        prompts = [decode_text(tokenizer, real_tokens(output, "prompt", row)) for row in rows]
        decoded = decode_all_with_offsets(tokenizer, ids)
        tokens = [
            (row_ids, texts_of_tokens(d.text, d.offsets))
            for row_ids, d in zip(ids, decoded, strict=True)
        ]
        return list(zip(tokens, prompts, strict=True))

    def _write(self, generation: Generation) -> None:
        """Gather what all processes kept; the main process writes, reports, and renews the page."""
        done = gather_object(generation.done)
        if self.trainer.accelerator.is_main_process:
            done.sort(key=lambda rollout: rollout.row)
            report_html(done, generation.step, self.trainer.args.report_to)
            with warned(f"rollouts of step {generation.step} are lost"):  # such as by a full disk
                write_part(self.folder, generation.step, done)
                self._renew_page()
        self._state()["step"] = generation.step

    def _renew_page(self) -> None:
        """Write the page of the run so far, as long as that takes little of the run's time."""
        start = time.perf_counter()
        if self._page_seconds <= PAGE_RATIO * (start - self._began):
            save_run_page(self.folder)
            self._page_seconds += time.perf_counter() - start


def check_counts(every: int, count: int) -> None:
    """Raise ValueError for settings without meaning."""
    if every < 0 or count < 1:
        raise ValueError(
            f"rollouts_every is {every} and rollouts_count is {count}; the first must be at least 0, the "
            "second at least 1"
        )


class RolloutsMixin:
    """Keeps rollouts of a GRPO trainer of TRL whose advantages are final once a batch is generated."""

    def __init__(
        self, *args: Any, rollouts_every: int = EVERY, rollouts_count: int = COUNT, **kwargs: Any
    ) -> None:
        super().__init__(*args, **kwargs)
        self.rollout_log = RolloutLog(self, every=rollouts_every, count=rollouts_count)
        self.add_callback(self.rollout_log)  # type: ignore[attr-defined]

    def _generate_and_score_completions(self: Any, inputs: list[dict[str, Any]]) -> dict[str, Any]:
        output: dict[str, Any] = super()._generate_and_score_completions(inputs)  # type: ignore[misc]
        self.rollout_log.begin(output)
        self.rollout_log.add(output)
        return output
