"""A model of its own that turns token ids into weights: no trainer, no policy's attention needed."""

import threading
import time
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from flowtracer.attention import AttentionCaptureError
from flowtracer.credit import Credit, TokenCredit, Weighting, sequence_credit, structural_vocabulary
from flowtracer.credit.rules import parse_rules
from flowtracer.models import EMBEDDED, Loaded, ModelError, load
from flowtracer.models.decoder import find_decoder
from flowtracer.models.padding import pad_rows
from flowtracer.models.pictures import picture_tokens
from flowtracer.service.checkpoints import Checkpoint, Watcher, step_of
from flowtracer.service.rows import (
    EMPTY,
    FAILED,
    NO_ANSWER,
    NO_SCORES,
    SCORED,
    SKIPPED,
    TOO_LONG,
    Rows,
    TokenWeights,
    check_vocabulary,
    read_rows,
)
from flowtracer.service.windows import windows

WINDOW_TOKENS = (
    65_536  # rows times longest row that are prepared together, as in `flowtracer score`
)
MOST_TOKENS = 32_768  # of a row, as in `flowtracer score`
LOOK_SECONDS = 1.0  # between two looks at the folder of checkpoints, our choice


class Scorer:
    """A frozen model that scores responses of any trainer.

        scorer = Scorer("Qwen/Qwen3-0.6B")
        result = scorer.weights([[1, 2, 3, 4]], prompt_lengths=[2])
        result.weights  # one list a row, one number a token

    It may be used by several threads; one at a time has the model.
    """

    def __init__(
        self,
        model: str | Path | Loaded = EMBEDDED,
        *,
        rule: str | Credit = "flow",
        dtype: str = "auto",
        device: str = "auto",
        trust_remote_code: bool = False,
        checkpoints: str | Path | None = None,
        every: int = 1,
        max_tokens: int = MOST_TOKENS,
        window_tokens: int = WINDOW_TOKENS,
    ) -> None:
        """Load the model; it stays as it is until `refresh`.

        Args:
            model: see `load`; the first policy, say. A `Loaded` is used as it is, not copied.
            rule: a `Credit`, or a rule as one word, such as "flow@end=bottom,emphasis=3"; the paper's.
            checkpoints: a folder in which a trainer saves them. Before each call of `weights`, at most once
                a second, the newest complete one is read if it is `every` steps ahead of the one in use.
            every: steps between two refreshes; 1 (our choice) takes every checkpoint.
            max_tokens: of a row; a longer one gets weights of 1 and is counted.
            window_tokens: rows times longest row that are prepared together.

        Raises ModelError if the model cannot be loaded, ValueError for a rule that it cannot have.
        """
        self.rule = rule if isinstance(rule, str) else repr(rule)
        self.credit = read_rule(rule) if isinstance(rule, str) else rule
        if self.credit.rule is not None:
            raise ValueError("Calibrated() is chosen while a TRL trainer runs; name one rule here")
        self.credit.check_token_ids()
        self.max_tokens, self.window_tokens = max_tokens, window_tokens
        self._trust = trust_remote_code
        if checkpoints is None and every != 1:
            raise ValueError(
                f"every is {every} without a folder of checkpoints; name one, or leave it out"
            )
        self._watcher = None if checkpoints is None else Watcher(Path(checkpoints), every=every)
        self.look_seconds = LOOK_SECONDS
        self._looked = float("-inf")
        self._lock = threading.Lock()  # of the model
        self._refreshing = threading.Lock()  # two refreshes, one after the other
        if isinstance(model, Loaded):
            self._loaded = model
        else:
            self._loaded = load(
                model, dtype=dtype, device=device, trust_remote_code=trust_remote_code
            )
        self.credit.check_model(self._loaded.model)
        self.revision = self._loaded.name
        self.step: int | None = None
        self._delimiters = None
        if self.credit.needs_structure:
            self._delimiters = structural_vocabulary(self._loaded.tokenizer)

    @property
    def model_name(self) -> str:
        """The model that was loaded first, as it was named."""
        return self._loaded.name

    @property
    def tokenizer(self) -> Any:
        """The tokenizer by which answers are read."""
        return self._loaded.tokenizer

    @property
    def vocabulary(self) -> int:
        """Token ids are below this number."""
        return int(find_decoder(self._loaded.model).config.get_text_config().vocab_size)

    @property
    def picture_tokens(self) -> frozenset[int]:
        """Token ids that stand for pictures, which are not read here."""
        return frozenset(picture_tokens(self._loaded.model).values())

    def weights(
        self,
        input_ids: Sequence[Any],
        prompt_lengths: Sequence[int] | None = None,
        *,
        response_masks: Sequence[Any] | None = None,
        row_mask: Sequence[bool] | None = None,
    ) -> TokenWeights:
        """Weight of every token, as lists in the order of the rows.

        Args:
            input_ids: one list a row, prompt and response without padding; arrays and tensors too.
            prompt_lengths: tokens of each row's prompt; all behind them were written by the policy.
            response_masks: instead, a list of 0 and 1 for each row, 1 at tokens that the policy wrote.
                What precedes the first is the prompt; tool output (0) is part of the graph only.
            row_mask: rows to score; one of zero advantage need not be.

        Nothing about one odd response raises: its weights are 1, and `TokenWeights.states` says why.
        Raises ValueError, in one sentence, for malformed arguments: other types, lengths that do not fit,
        token ids outside the vocabulary.
        """
        rows = read_rows(
            input_ids, prompt_lengths, response_masks=response_masks, row_mask=row_mask
        )
        check_vocabulary(rows, self.vocabulary, self.picture_tokens)
        self.refresh_if_newer()
        return self.score(rows)

    def score(self, rows: Rows) -> TokenWeights:
        """`weights` of rows that were checked, by the weights that the model has."""
        weights = [[1.0] * len(row) for row in rows.input_ids]
        states = [self._state(rows, index) for index in range(len(rows))]
        chosen = [index for index, state in enumerate(states) if state == SCORED]
        with self._lock:  # all rows of a call by the same weights
            for window in windows(rows, chosen, tokens=self.window_tokens):
                self._score(rows, window, weights, states)
            return TokenWeights(weights, states, rows.prompt_lengths, self.revision, self.step)

    def refresh(self, folder: str | Path) -> None:
        """Take the weights of another checkpoint of the same model, all or nothing.

        It is read beside the one in use, and takes its place between two calls. Raises ModelError
        if it cannot be read or is of another architecture; the model stays as it was then.
        """
        folder = Path(folder).expanduser()
        with self._refreshing:
            self._take(folder, step_of(folder))

    def refresh_by_name(self, name: str = "") -> None:
        """`refresh` from a checkpoint of the folder of checkpoints: this one, or the newest complete one.

        Raises ModelError if there is none of the name, none that is complete and newer, or no such folder.
        """
        if self._watcher is None:
            raise ModelError(
                "the scorer has no folder of checkpoints; start it with one (--checkpoints)"
            )
        with self._refreshing:
            checkpoint = self._watcher.find(name) if name else self._watcher.newest(self.step)
            self._take(checkpoint.folder, checkpoint.step)

    @property
    def watches(self) -> bool:
        """Whether it has a folder of checkpoints."""
        return self._watcher is not None

    def refresh_if_newer(self) -> bool:
        """Look for a newer complete checkpoint, at most once a second, and take it; whether one was.

        A checkpoint that cannot be read is warned of, and the model stays as it was.
        """
        if self._watcher is None or not self._refreshing.acquire(blocking=False):
            return False
        try:
            if time.monotonic() - self._looked < self.look_seconds:
                return False
            self._looked = time.monotonic()
            newer: Checkpoint | None = None
            try:
                newer = self._watcher.newer(self.step)
                if newer is None:
                    return False
                self._take(newer.folder, newer.step)
            except (ModelError, OSError) as error:  # OSError: of the folder, on a network say
                if newer is not None:
                    self._watcher.skip(newer)
                warnings.warn(f"the scorer keeps {self.revision}: {error}", stacklevel=3)
                return False
            return True
        finally:
            self._refreshing.release()

    def _take(self, folder: Path, step: int | None) -> None:
        folder = (
            folder.absolute()
        )  # never a name on the hub, also if the folder was deleted meanwhile
        new = load(folder, dtype="auto", device="cpu", trust_remote_code=self._trust).model
        values, old = new.state_dict(), self._loaded.model.state_dict()
        if {name: v.shape for name, v in values.items()} != {n: v.shape for n, v in old.items()}:
            raise ModelError(
                f"checkpoint {folder.name} is not of the architecture of {self.model_name}; start another "
                "scorer for it"
            )
        with self._lock, torch.no_grad():
            for name, value in old.items():
                value.copy_(values[name])
            self.revision, self.step = folder.name, step

    def _state(self, rows: Rows, index: int) -> str:
        """What is known of a row before it is scored."""
        if rows.row_mask is not None and not rows.row_mask[index]:
            return SKIPPED
        length, prompt = len(rows.input_ids[index]), rows.prompt_lengths[index]
        if prompt == 0 or prompt >= length:
            return EMPTY
        return TOO_LONG if length > self.max_tokens else SCORED

    def _score(
        self, rows: Rows, window: Sequence[int], weights: list[list[float]], states: list[str]
    ) -> None:
        """Fill in a window's weights and states; one that fails is scored row by row."""
        try:
            credit = self._credit(rows, window)
        except AttentionCaptureError:
            raise  # no row can be scored with this model
        except (ValueError, IndexError, torch.OutOfMemoryError):
            credit = None
        if credit is None:  # out here, where the error no longer holds on to what the window took
            if len(window) == 1:
                states[window[0]] = FAILED
                return
            for index in window:
                self._score(rows, [index], weights, states)
            return
        answered, scored = credit.answered.tolist(), credit.scored.tolist()
        for number, (index, row) in enumerate(zip(window, credit.weights.tolist(), strict=True)):
            weights[index] = row[: len(rows.input_ids[index])]
            if not answered[number]:
                states[index] = NO_ANSWER
            elif not scored[number]:
                states[index] = NO_SCORES

    def _credit(self, rows: Rows, window: Sequence[int]) -> TokenCredit:
        ids, real = pad_rows([rows.input_ids[index] for index in window], left=False)
        if rows.response_masks is None:
            prompts = torch.tensor([rows.prompt_lengths[index] for index in window])
            response = torch.arange(ids.shape[1]) >= prompts[:, None]
        else:
            response = pad_rows([rows.response_masks[i] for i in window], left=False)[0].bool()
        return sequence_credit(
            self._loaded.model,
            self._loaded.tokenizer,
            ids,
            response,
            credit=self.credit,
            attention_mask=real,
            delimiters=self._delimiters,
        )


def read_rule(text: str) -> Credit:
    """SCORER[@OPTION=VALUE,...] or "uniform" as a `Credit`. Raises ValueError."""
    rules = parse_rules([text])
    if len(rules) != 1:
        raise ValueError(f"rule {text!r} stands for {len(rules)} rules; a scorer has one")
    return rules[0].credit(answer="auto") or Credit(weighting=Weighting(emphasis=1.0))
