"""Every way in which the package reads and continues a model, against the slow way; see docs/models.md."""

import inspect
import sys
from collections import Counter
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch

from flowtracer import mean_attention
from flowtracer.attention import (
    attention_by_layer,
    can_share,
    model_layers,
    observe_layers,
    shared_prompt_attention,
    tiled_attention,
    why_not_observed,
)
from flowtracer.attention.mean import MeanReader
from flowtracer.credit import Credit, ScoreBatch, token_credit
from flowtracer.intervention import attention_knockout, decode, prefill
from flowtracer.models.continuation import continue_prefixes, read_prefix, sampled
from flowtracer.models.decoding import can_decode
from flowtracer.models.decoding import decode as decode_rows
from flowtracer.models.layer_kinds import layer_types, ranges, softmax_layers, text_config
from helpers.architectures import tiny_model
from helpers.models import texts

LENGTH = 66  # a block of 64 queries, and a short one
CHOICES = ("early", "middle", "late", "all")
TOLERANCE = 2e-5
PAGE = Path(__file__).parents[2] / "docs" / "models.md"
SHARED = 20  # tokens of a prompt that rows share


def eager_layers(model, ids, mask):
    """Attention of each layer that has some, by transformers' own eager way: {layer: (B, heads, T, T)}."""
    before = model.config._attn_implementation
    model.set_attn_implementation("eager")
    with torch.no_grad(), sinks_applied(model):
        kept = model(
            input_ids=ids,
            attention_mask=mask,
            output_attentions=True,
            use_cache=False,
            **positions(model, mask),
        ).attentions
    model.set_attn_implementation(before)
    softmax = softmax_layers(text_config(model))
    numbers = softmax if len(kept) == len(softmax) else range(len(kept))
    by_layer = dict(zip(numbers, kept, strict=True))
    return {layer: by_layer[layer] for layer in softmax}


def positions(model, mask):
    """Positions that count real tokens, for models that take them."""
    if "position_ids" not in inspect.signature(model.forward).parameters:
        return {}
    return {"position_ids": (mask.cumsum(1) - 1).clamp(min=0)}


@contextmanager
def sinks_applied(model):
    """Granite's eager attention returns its weights before the sink has taken its part; here with it."""
    module = sys.modules[type(model).__module__]
    original = getattr(module, "eager_attention_forward", None)
    if "sink_scale" not in (inspect.getsource(original) if original else ""):
        yield
        return

    def attention(layer, query, key, value, attention_mask, scaling, **kwargs):
        output, weights = original(layer, query, key, value, attention_mask, scaling, **kwargs)
        keys = key.repeat_interleave(layer.num_key_value_groups, 1)
        logits = query @ keys.transpose(2, 3) * scaling
        total = (logits if attention_mask is None else logits + attention_mask).logsumexp(-1)
        return output, weights * (total - layer.sinks[None, :, None]).sigmoid()[..., None]

    module.eager_attention_forward = attention
    try:
        yield
    finally:
        module.eager_attention_forward = original


def mean_of(eager, layers, mask):
    mean = torch.stack([eager[layer].float().mean(1) for layer in layers]).mean(0)
    return mean * mask[:, :, None] * mask[:, None, :]


def dense_difference(model):
    """Largest difference of `mean_attention` to eager, for each choice of layers and side of padding."""
    largest = 0.0
    for padding, choices in {"none": ("middle",), "both": CHOICES}.items():
        ids, mask = texts(padding, length=LENGTH)
        eager = eager_layers(model, ids, mask)
        for choice in (*choices, [max(eager)]):
            expected = mean_of(eager, model_layers(model, choice), mask)
            mean = mean_attention(model, ids, mask, layers=choice)
            largest = max(largest, float((mean - expected).abs().max()))
    return largest


def by_layer_difference(model):
    ids, mask = texts("none", length=LENGTH)
    eager, shown = eager_layers(model, ids, mask), {}
    mean = attention_by_layer(model, ids, lambda n, layer: shown.update({n: layer.clone()}))
    layers = model_layers(model, "middle")
    differences = [(shown[n] - mean_of(eager, [n], mask)).abs().max() for n in layers]
    return float(max(*differences, (mean - mean_of(eager, layers, mask)).abs().max()))


def tiles_difference(model):
    ids, _ = texts("none", length=LENGTH)
    tiled = tiled_attention(model, ids).rows(0, LENGTH)
    return float((tiled - mean_attention(model, ids)).abs().max())


def shared_difference(model):
    if not can_share(model):
        raise ValueError("a prompt is not shared: more than plain keys and values would pass it on")
    ids, mask = texts("right", length=LENGTH)
    ids[:, :SHARED] = ids[0, :SHARED]
    shared = shared_prompt_attention(model, ids[0, :SHARED], ids[:, SHARED:], mask[:, SHARED:])
    return float((shared - mean_attention(model, ids, mask)).abs().max())


def riding_difference(model):
    """A forward pass that runs anyway, in training mode and with its own attention function."""
    reason = why_not_observed(model)
    if reason:
        raise ValueError(reason)
    ids, mask = texts("both", length=LENGTH)
    layers = model_layers(model, "middle")
    reader = MeanReader(mask, layers)
    with observe_layers(model, layers, reader.read_layer):
        model(input_ids=ids, attention_mask=mask, use_cache=False, **positions(model, mask))
    return float((reader.finish() - mean_attention(model, ids, mask)).abs().max())


def credit_difference(model):
    """Weights of padded rows, against those of the same responses one by one; responses end in an answer."""
    ids, mask = texts("right", length=LENGTH)
    position = torch.arange(LENGTH)[None]
    ends = mask.sum(1, keepdim=True)
    answer = ((position >= ends - 5) & (position < ends - 2)).float()
    question = (position < SHARED).expand_as(mask)
    batch = ScoreBatch(ids, mask, question, (mask > 0) & ~question, answer)
    together = token_credit(model, batch, Credit()).scores
    alone = [
        token_credit(model, batch.take(torch.tensor([row]), slice(None)), Credit()).scores[0]
        for row in range(3)
    ]
    assert bool((together.sum(1) > 0).all())
    return float((together - torch.stack(alone)).abs().max())


def generation_differs(model, tokens=8):
    """Whether a greedy response is not that of transformers' `generate`, in a batch or from a prefix."""
    ids, mask = texts("left", length=12)
    plain = {"max_new_tokens": tokens, "do_sample": False, "eos_token_id": None, "pad_token_id": 0}
    expected = model.generate(input_ids=ids, attention_mask=mask, **plain)
    own = decode_rows if can_decode(model) else None
    answers = model.generate(input_ids=ids, attention_mask=mask, custom_generate=own, **plain)
    choose = sampled(0.0, torch.Generator())
    prefix = read_prefix(model, ids[0].tolist())
    new = continue_prefixes(model, [prefix], copies=2, limits=[tokens], ends=(), choose=choose)
    return float(not torch.equal(answers, expected) or new != [expected[0, 12:].tolist()] * 2)


def knockout_difference(model, hidden=5):
    """What a token that is hidden still changes: the logits behind it, with another token in its place."""
    ids, _ = texts("none", length=24)
    first, second = ids[0].tolist(), ids[0].tolist()
    second[hidden] = (first[hidden] + 40) % 90 + 3
    conditions = torch.zeros(1, 24, dtype=torch.bool)
    conditions[0, hidden] = True
    with attention_knockout(model) as knockout:
        left, right = (prefill(model, knockout, text, conditions) for text in (first, second))
        both = decode(model, knockout, [left, right], limits=[4, 4], ends=())
        open_ = [prefill(model, knockout, t, conditions & False) for t in (first, second)]
    assert both[0] == both[1]
    assert float((open_[0].logits - open_[1].logits).abs().max()) > 1e-3
    return float((left.logits - right.logits).abs().max())


WAYS = {
    "by layer": by_layer_difference,
    "tiles": tiles_difference,
    "shared prompt": shared_difference,
    "training pass": riding_difference,
    "credit": credit_difference,
    "going on": generation_differs,
    "knockout": knockout_difference,
}


@dataclass(frozen=True)
class Outcome:
    """A row of the table: its cells, the difference to eager, and why a way is not taken, by way."""

    cells: list[str]
    difference: float
    reasons: dict[str, str]


def outcome(name):
    """Measure an architecture. AssertionError where a way gives other numbers."""
    model = tiny_model(name)
    difference, reasons = dense_difference(model), {}
    for way, measure in WAYS.items():
        try:
            difference_of_way = measure(model)
        except ValueError as error:  # AttentionCaptureError is one
            reasons[way] = str(error)
        else:
            assert difference_of_way <= TOLERANCE, f"{way}: {difference_of_way}"
    cells = [
        f"`{name}`",
        type(model).__name__,
        kinds_of(text_config(model)),
        ranges(model_layers(model, "middle")),
        f"{difference:.0e}",
        *("no" if way in reasons else "yes" for way in WAYS),
    ]
    return Outcome(cells, difference, reasons)


def kinds_of(config):
    """How many layers there are of each kind, such as "4 linear, 2 full"."""
    kinds = Counter(layer_types(config))
    if not kinds:
        windowed = getattr(config, "sliding_window", None)
        kinds = {"sliding" if windowed else "full": config.num_hidden_layers}
    named = ((kind.removesuffix("_attention").replace("_", " "), n) for kind, n in kinds.items())
    return ", ".join(f"{n} {kind}" for kind, n in named)


def refusal(name, model, message):
    """The cells of an architecture that is refused."""
    return [f"`{name}`", type(model).__name__, message.split("; ")[0]]


def table_rows(page=PAGE):
    """The rows of the tables in docs/models.md by `model_type`, as lists of cells."""
    rows = {}
    for line in page.read_text(encoding="utf-8").splitlines():
        if line.startswith("| `"):
            cells = [cell.strip() for cell in line.strip("|").split("|")]
            rows[cells[0].strip("`")] = cells
    return rows
