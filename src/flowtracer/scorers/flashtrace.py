"""FlashTrace (arXiv 2602.01914, the package flashtrace) as a scorer of the prompt's tokens.

The package attributes a span of what a model wrote to the tokens of its prompt. It takes texts and
tokenizes them; here it gets a substitute for the tokenizer that has the ids already, so that it reads
the very tokens that every other scorer reads.
"""

import importlib
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Any

import torch
from torch import Tensor, nn
from transformers import BatchEncoding

from flowtracer.models.decoder import AttentionCaptureError
from flowtracer.models.swap import evaluating
from flowtracer.regions import TokenizedText, decode_with_offsets
from flowtracer.scorers.batch import ScoreBatch
from flowtracer.scorers.scorer import Evidence, ScoreOptions

PACKAGE = "flashtrace"
END = "\0"  # what FlashTrace appends to a target in place of an end-of-text token


def flashtrace(evidence: Evidence, options: ScoreOptions) -> Tensor:
    """FlashTrace's method "flashtrace" with its default of one hop, (B, T), 0 on the response.

    It attributes the entire response up to the answer's end, reasoning and answer together, and then
    what the response's own tokens hold, weighted, once more. Commas, full stops and white space score
    0. Our choices: the text ends with the answer, as it does where nothing is written behind it.
    """
    return _scores(evidence, "flashtrace")


def flashtrace_span(evidence: Evidence, options: ScoreOptions) -> Tensor:
    """FlashTrace's method "ifr-span", (B, T), 0 on the response: one hop from the answer's tokens."""
    return _scores(evidence, "ifr-span")


def _scores(evidence: Evidence, method: str) -> Tensor:
    """Row by row, for the package reads one text at a time; 0 in a row without prompt or answer."""
    assert evidence.model is not None
    batch = evidence.batch
    package, tokenizer = load_package(), batch.tokenizer
    if tokenizer is None:
        raise ValueError(f"scorer {PACKAGE!r} reads text; set `tokenizer` of the batch")
    scores = torch.zeros(batch.input_ids.shape, dtype=torch.float32)
    with _eager(evidence.model):
        for row in batch.scorable.nonzero()[:, 0].tolist():
            prompt, target, span = _parts(batch, row)
            if prompt and span is not None:
                ids = batch.input_ids[row].tolist()
                known = KnownTokens(
                    decode_with_offsets(tokenizer, [ids[position] for position in prompt]),
                    decode_with_offsets(tokenizer, [ids[position] for position in target]),
                    end_id=tokenizer.eos_token_id or 0,
                )
                traced = _trace(package, evidence.model, known, span, method)
                scores[row, prompt] = torch.tensor(traced)
    return scores.to(batch.input_ids.device)


def load_package() -> ModuleType:
    """The package flashtrace. Raises ValueError if it, or something that it imports, is missing."""
    try:
        return importlib.import_module(PACKAGE)
    except ImportError as error:
        raise ValueError(
            f"scorer {PACKAGE!r} needs the package {PACKAGE}, which cannot be imported ({error}); "
            f"install it with `pip install 'flowtracer[{PACKAGE}]'`"
        ) from error


def _parts(batch: ScoreBatch, row: int) -> tuple[list[int], list[int], tuple[int, int] | None]:
    """Positions of the prompt and of the response up to its answer's end, and the answer in the latter.

    The answer's span is inclusive, from the first answer token to the last, and counts from the
    response's first token; None where no answer is in the response.
    """
    real = (batch.attention_mask[row] > 0).nonzero()[:, 0].tolist()
    begin = int(batch.candidates[row].int().argmax())
    answer = [position for position in real if batch.answer[row, position] > 0]
    prompt = [position for position in real if position < begin]
    if not answer or answer[0] < begin:
        return prompt, [], None
    target = [position for position in real if begin <= position <= answer[-1]]
    return prompt, target, (target.index(answer[0]), len(target) - 1)


def _trace(
    package: ModuleType,
    model: nn.Module,
    known: "KnownTokens",
    span: tuple[int, int],
    method: str,
) -> list[float]:
    """FlashTrace's score of every prompt token. Raises AttentionCaptureError if it cannot read the model."""
    prompt, target = known.prompt, known.target
    try:
        tracer = package.FlashTrace(model, known)
        result = tracer.trace(
            prompt=prompt.text, target=target.text, output_span=span, method=method
        )
    except (AttributeError, IndexError, TypeError, ValueError) as error:
        raise AttentionCaptureError(
            f"FlashTrace cannot read {type(model).__name__} ({type(error).__name__}: {error}); it reads "
            "models such as Llama, Qwen2 and Qwen3"
        ) from error
    if len(result.scores) != len(prompt.ids):
        raise ValueError(
            f"FlashTrace gave {len(result.scores)} scores for {len(prompt.ids)} prompt tokens; "
            f"use another version (`pip install 'flowtracer[{PACKAGE}]'`)"
        )
    return list(result.scores)


class KnownTokens:
    """The calls that FlashTrace makes to a tokenizer, answered with the ids of two known texts.

    A target comes with `eos_token` behind it, which FlashTrace appends and leaves out again by
    `eos_token_id`.
    """

    eos_token = END

    def __init__(self, prompt: TokenizedText, target: TokenizedText, *, end_id: int) -> None:
        """Raises ValueError if the two texts cannot be told apart."""
        self.prompt, self.target, self.eos_token_id = prompt, target, end_id
        self._ended = target.text + END
        stop = len(target.text)
        ended = (self._ended, [*target.ids, end_id], [*target.offsets, (stop, stop + 1)])
        self._known = {text: (ids, offsets) for text, ids, offsets in (prompt, ended)}
        if len(self._known) < 2:
            raise ValueError("FlashTrace cannot tell this prompt from its response")

    def __call__(self, text: str, *, return_tensors: str | None = None, **_: Any) -> BatchEncoding:
        """Ids and offsets of one of the two texts. Raises ValueError for any other text."""
        if text not in self._known:
            raise ValueError("FlashTrace asked for the tokens of a text that it was not given")
        ids, offsets = self._known[text]
        data = {"input_ids": ids, "offset_mapping": offsets}
        if return_tensors is not None:
            data = {"input_ids": torch.tensor([ids])}
        return BatchEncoding(data)

    def decode(self, ids: object, **_: Any) -> str:
        """The target's text; FlashTrace decodes nothing else."""
        return self._ended


@contextmanager
def _eager(model: nn.Module) -> Iterator[None]:
    """The model with eager attention, which FlashTrace needs; restored on exit."""
    config: Any = getattr(model, "config", None)
    before = getattr(config, "_attn_implementation", None)
    with evaluating(model):
        try:
            model.set_attn_implementation("eager")  # type: ignore[operator]
            yield
        finally:
            model.set_attn_implementation(before)  # type: ignore[operator]
