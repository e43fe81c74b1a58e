"""Traces made without a model: any pieces of text, random attention, real flow."""

import torch

from flowtracer.regions import TokenizedText
from flowtracer.tracing.data import Provenance, Trace
from flowtracer.tracing.graph import read_graph
from flowtracer.tracing.trace import assemble

HOSTILE = [
    "</script>", "<!--", "<script>window.hacked=1</script>", '"quoted"', "'single'", "\x00", "\x1b[31m",
    "\u202eright to left\u202c", "שלום", "🙂", "👩‍🚀", "\u2028", "&lt;b&gt;", "<b>bold</b>", "\\", "`${1}`",
    "\t", "\n\n", "  ", "\u200b", "{{7*7}}", "$title", "]]>", "é", "日本語", "ﷺ", "%s", "\r",
]  # fmt: skip


def made_trace(prompt: list[str], response: list[str], *, answer: int = -1, seed: int = 0) -> Trace:
    """A trace whose tokens are the given pieces; `answer` is the response piece that is the answer."""
    asked, answered = _tokenized(prompt), _tokenized(response)
    length = len(prompt) + len(response)
    generator = torch.Generator().manual_seed(seed)
    logits = 2 * torch.randn(1, length, length, generator=generator)
    hidden = torch.ones(length, length).triu(1).bool()
    attention = logits.masked_fill(hidden, -torch.inf).softmax(-1)
    question = (torch.arange(length) < len(prompt))[None]
    weights = torch.zeros(len(response))
    weights[answer] = 1.0
    draws = torch.cat([torch.zeros(len(prompt)), weights])[None]
    return assemble(
        asked,
        answered,
        torch.ones(len(prompt)).bool(),
        weights,
        read_graph(attention, question, ~question, draws, "absorb"),
        Provenance("made", "float32", (1, 2), "boxed", "absorb", "prompt", {"flowtracer": "0"}),
    )


def _tokenized(pieces: list[str]) -> TokenizedText:
    offsets, position = [], 0
    for piece in pieces:
        offsets.append((position, position + len(piece)))
        position += len(piece)
    return TokenizedText("".join(pieces), list(range(len(pieces))), offsets)
