"""What all operations work with: the model, its limits, and what is kept of texts and of the model."""

import copy
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

from torch import nn
from transformers import PreTrainedTokenizerBase

from flowtracer.models import EMBEDDED, Loaded
from flowtracer.models.continuation import continue_prefixes, read_prefix
from flowtracer.models.decoder import AttentionCaptureError, depth_of, layer_stack
from flowtracer.models.generation import end_tokens
from flowtracer.regions import TokenizedText, first_unknown, render_prompt, tokenize_prompt
from flowtracer.workbench.fields import Refused
from flowtracer.workbench.grading import grade
from flowtracer.workbench.jobs import Job
from flowtracer.workbench.kept import Kept
from flowtracer.workbench.limits import Limits
from flowtracer.workbench.texts import Text, TextStore, make_text

EVIDENCE_BYTES = 1 << 29  # of attention, hidden states and the like; our choice
TRACES_BYTES = 1 << 26  # our choice


@dataclass
class Engine:
    """One model and what the server remembers.

    The worker thread alone runs the model and uses `loaded.tokenizer`; other threads use `reading`.
    """

    loaded: Loaded
    limits: Limits
    texts: TextStore = field(default_factory=TextStore)
    evidence: Kept = field(default_factory=lambda: Kept(EVIDENCE_BYTES))
    traces: Kept = field(default_factory=lambda: Kept(TRACES_BYTES))
    _lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def model(self) -> Any:
        """The model, in evaluation mode."""
        return self.loaded.model

    @property
    def tokenizer(self) -> PreTrainedTokenizerBase:
        """The tokenizer; for the worker thread only, tokenizers are not to be shared."""
        return self.loaded.tokenizer

    @property
    def name(self) -> str:
        """The model's name, without the folder that it is in."""
        return (
            self.loaded.name.rstrip("/").rpartition("/")[2] if self.is_local else self.loaded.name
        )

    @property
    def is_local(self) -> bool:
        """Whether the name is a path, which says more than it should."""
        name = self.loaded.name
        return name.startswith(("/", ".", "~")) or name.count("/") > 1

    @cached_property
    def depth(self) -> int:
        """Number of layers."""
        return depth_of(self.model)

    @cached_property
    def vocabulary(self) -> int:
        """Number of token ids that the model has embeddings for."""
        return int(self.model.get_input_embeddings().num_embeddings)

    @cached_property
    def ends(self) -> set[int]:
        """Ids that end a response."""
        return end_tokens(self.model, self.tokenizer)

    @cached_property
    def _reader(self) -> PreTrainedTokenizerBase:
        return copy.deepcopy(self.loaded.tokenizer)

    @contextmanager
    def reading(self) -> Iterator[PreTrainedTokenizerBase]:
        """A tokenizer for threads other than the worker's, one at a time."""
        with self._lock:
            yield self._reader

    def warm_up(self) -> None:
        """What the first request would otherwise wait for: lazy imports, tables, kernels."""
        prompt = render_prompt(self.tokenizer, "1 2")
        ids = tokenize_prompt(self.tokenizer, prompt).ids
        continue_prefixes(
            self.model,
            [read_prefix(self.model, ids)],
            copies=1,
            limits=[2],
            ends=self.ends,
            choose=lambda logits, rows: logits.argmax(-1)[rows],
        )

    def check_known(self, text: TokenizedText) -> None:
        """Raise Refused if the embedded model has no word for something in a text."""
        unknown = first_unknown(self.tokenizer, text)
        if self.loaded.name == EMBEDDED and unknown is not None:
            raise Refused(
                "the embedded model only knows problems like 'Make 4 from 16, 20, 24.' with numbers up to "
                f"200, not {unknown[:40]!r}; start the server with --model for other texts"
            )

    def find(self, name: str) -> Text:
        """A text of the model that is loaded. Raises Refused."""
        text = self.texts.find(name)
        if text.model != self.name:
            raise Refused(
                f"the text is of model {text.model[:80]} and {self.name} is loaded; it can only be viewed",
                409,
            )
        return text

    def register(
        self,
        prompt_ids: Sequence[int],
        response_ids: Sequence[int],
        user: Sequence[bool],
        tokenizer: PreTrainedTokenizerBase,
        *,
        cut_off: bool | None = None,
    ) -> Text:
        """Keep a text of this model that somebody else still had. Raises Refused for ids that do not fit."""
        for ids in (prompt_ids, response_ids):
            if any(not 0 <= token < self.vocabulary for token in ids):
                raise Refused(
                    f"the text has token ids beyond the {self.vocabulary:,} of model {self.name}; it is of "
                    "another model",
                    409,
                )
        self.limits.check(len(prompt_ids), len(response_ids))
        text = make_text(tokenizer, self.name, prompt_ids, response_ids, user=user, cut_off=cut_off)
        return self.texts.add(replace(text, correct=grade(self.loaded, text)))


@contextmanager
def watched_layers(model: nn.Module, job: Job, stage: str = "", layers: int = 0) -> Iterator[None]:
    """Let the job be cancelled before every layer that runs.

    stage: tell its progress under this name, out of so many `layers`.
    """
    handles = []
    with suppress(
        AttentionCaptureError
    ):  # without a list of layers, it is cancelled between tokens
        for number, layer in enumerate(layer_stack(model)):

            def begin(*_: object, number: int = number) -> None:
                job.check()
                if stage and number < layers:
                    job.tell("progress", stage=stage, done=number + 1, of=layers)

            handles.append(layer.register_forward_pre_hook(begin))
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
