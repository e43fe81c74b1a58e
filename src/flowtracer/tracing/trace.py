"""One text traced: capture, regions and flow put together, in plain numbers that can be saved."""

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase, ProcessorMixin

from flowtracer.attention import mean_attention, model_layers
from flowtracer.attention.layers import Layers
from flowtracer.attention.mean import Edges
from flowtracer.flow import Edge, Route, find_hubs
from flowtracer.flow.targeted import AnswerTokens
from flowtracer.models.generation import MAX_NEW_TOKENS, respond
from flowtracer.models.layer_kinds import text_config, unseen_layers, warn_of_unseen
from flowtracer.models.pictures import model_inputs, standing_for_pictures
from flowtracer.regions import (
    AnswerRule,
    TokenizedText,
    TokenPositions,
    answer_weights,
    decode_with_offsets,
    encode_with_offsets,
    matched_rule,
    opened_thought,
    render_prompt,
    rule_name,
    tokenize_prompt,
    user_spans,
)
from flowtracer.regions.prompts import Message, Question
from flowtracer.regions.tokens import token_weights
from flowtracer.scorers import ScoreOptions
from flowtracer.tracing.choices import check_choices
from flowtracer.tracing.data import Provenance, Role, Trace
from flowtracer.tracing.graph import TracedGraph
from flowtracer.tracing.pictures import ask_with_pictures, find_pictures
from flowtracer.tracing.reading import Progress, read_model
from flowtracer.tracing.scores import text_batch


class KeepResponse(Protocol):
    """Takes a response as soon as the model has given it, so that nothing later can lose it.

    cut_off: whether it ended because `max_new_tokens` were there.
    """

    def __call__(self, *, response: str, response_ids: list[int], cut_off: bool) -> None: ...


class AnswerNotFound(ValueError):
    """The answer rule found nothing in the response, whose text is in `response`."""

    def __init__(self, message: str, response: str = "") -> None:
        super().__init__(message)
        self.response = response


def trace(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase | ProcessorMixin,
    prompt: str | Sequence[Message],
    response: str | Sequence[int] | None = None,
    *,
    answer: AnswerRule | TokenPositions = "auto",
    question: Question = "prompt",
    layers: Layers = "middle",
    edges: Edges = "mean",
    scorers: Sequence[str] = (),
    answer_tokens: AnswerTokens = "absorb",
    chat: bool | None = None,
    max_new_tokens: int = MAX_NEW_TOKENS,
    temperature: float = 0.0,
    seed: int = 0,
    model_name: str | None = None,
    tile_above: int | None = None,
    by_layer: bool = True,
    images: Sequence[Any] = (),
    progress: Progress | None = None,
    keep_response: KeepResponse | None = None,
) -> Trace:
    r"""Trace how a response's answer draws on the prompt, through one forward pass.

    Args:
        tokenizer: the model's; with `images` its processor.
        prompt: the user's message (the chat template is applied if there is one) or a conversation.
        response: its text or token ids. None: the model answers first (`max_new_tokens`,
            `temperature` and `seed` as in `flowtracer.models.generation.respond`).
        answer: where the answer is, see `find_answer`. Where the default "auto" finds nothing, the
            last line is taken and recorded as the rule.
        question: "prompt" (default, our choice) lets flow enter at every prompt token, "user" only
            at what the user wrote.
        layers: see `select_layers`; answer_tokens: see `answer_flow`; edges: see `MeanReader`.
        scorers: names out of `SCORERS` whose scores the trace is to hold besides those that cost nothing
            more; they take a pass of their own.
        chat: False takes the prompt as it is, without template.
        tile_above: tokens beyond which attention is not stored as a T x T matrix but computed again
            in tiles whenever it is read. None: where T x T takes a sixteenth of free memory.
        by_layer: also send the flow through each chosen layer's attention alone, where attention is a
            matrix. Takes two solves a layer and a second T x T.
        images: pictures of PIL or paths, for a model that takes them. They stand in front of the message,
            or where a conversation has {"type": "image"}. Their tokens are part of the question.
        progress: called with "answering", "tracing" or, in tiles, "reading", how many tokens, layers
            or rows are done, and how many there are at most.
        keep_response: called with a response that the model has given, before it is traced.

    Raises:
        AnswerNotFound: the rule finds no answer in the response.
        ValueError: the text or a choice is not usable; AttentionCaptureError: nor is the model.
    """
    # Before an answer that nothing could trace.
    check_choices(answer=answer, question=question, scorers=scorers)
    options = ScoreOptions(
        layers=layers, edges=edges, answer_tokens=answer_tokens, tile_above=tile_above
    )
    chosen = model_layers(model, layers)
    warn_of_unseen(model)
    processor: Any = tokenizer
    words: PreTrainedTokenizerBase = getattr(processor, "tokenizer", processor)
    pictured = ask_with_pictures(processor, prompt, images, chat) if images else None
    if pictured is None:
        rendered = render_prompt(words, prompt, chat=chat)
        asked = tokenize_prompt(words, rendered)
    else:
        rendered, asked = pictured.prompt, pictured.text
    cut_off = None
    if response is None:
        # Two tokens show whether these layers can be read, before an answer that could not be traced.
        mean_attention(model, torch.tensor([asked.ids[-2:]]), layers=layers, edges=edges)
        told = progress and partial(_count_tokens, progress, max_new_tokens)
        sampling = {"max_new_tokens": max_new_tokens, "temperature": temperature, "seed": seed}
        inputs = (
            model_inputs(model, pictured.processed, torch.tensor([asked.ids])) if pictured else None
        )
        pictures = inputs.arguments(model.device) if inputs else None
        response = respond(model, words, asked.ids, **sampling, progress=told, pictures=pictures)  # type: ignore[arg-type]
        cut_off = len(response) == max_new_tokens  # the end-of-text token is not part of it
        if keep_response is not None:
            said = decode_with_offsets(words, response).text
            keep_response(response=said, response_ids=response, cut_off=cut_off)
    if isinstance(response, str):
        answered = encode_with_offsets(words, response)
    else:
        answered = decode_with_offsets(words, list(response))
    if not answered.ids:
        raise ValueError("the response is empty; give its text, or leave it out to have one made")
    thinking = bool(opened_thought(asked.text))
    weights, answer = find_answer_tokens(answer, answered, thinking=thinking)
    users = token_weights(user_spans(processor, asked.text, rendered.messages), asked.offsets) > 0
    if pictured is not None:
        users |= standing_for_pictures(model, torch.tensor(asked.ids))
    sources = users if question == "user" else torch.ones_like(users)
    if not bool(sources.any()):
        raise ValueError("the template hides the user's message; use question='prompt'")

    end = len(asked.ids) + int(weights.nonzero().max()) + 1  # nothing after the answer matters
    enters = torch.cat([sources, torch.zeros(len(answered.ids), dtype=torch.bool)])
    draws = torch.cat([torch.zeros(len(asked.ids)), weights])
    text = text_batch(asked, answered, question=enters, answer=draws)
    if pictured is not None:
        text = replace(text, model_inputs=model_inputs(model, pictured.processed, text.input_ids))
    text = text.take(torch.tensor([0]), slice(end))
    graph = read_model(model, text, options, by_layer=by_layer, scorers=scorers, progress=progress)
    name = model_name or _model_name(model)
    provenance = provenance_of(model, name, chosen, options, _rule_name(answer), question)
    made = assemble(asked, answered, users, weights, graph, provenance)
    if pictured is not None:
        made = replace(made, pictures=find_pictures(model, pictured, graph.flow.attention))
    return replace(made, matched_rule=_matched(answer, answered.text, thinking), cut_off=cut_off)


def find_answer_tokens(
    answer: AnswerRule | TokenPositions, answered: TokenizedText, *, thinking: bool
) -> tuple[Tensor, AnswerRule | TokenPositions]:
    """Weight of each response token as answer (R,), and the rule that gave it.

    Where "auto" finds nothing it is the last line. Raises AnswerNotFound.
    """
    rules = [answer, "last-line"] if isinstance(answer, str) and answer == "auto" else [answer]
    for rule in rules:
        weights = answer_weights(rule, answered, thinking=thinking)
        if bool(weights.any()):
            return weights, rule
    raise AnswerNotFound(_not_found(rules[-1], answered.text), answered.text)


def provenance_of(
    model: PreTrainedModel,
    name: str,
    layers: tuple[int, ...],
    options: ScoreOptions,
    rule: str,
    question: Question,
) -> Provenance:
    """How a trace was made. rule: the name of the answer rule."""
    return Provenance(
        model=name,
        dtype=str(model.dtype).removeprefix("torch."),
        layers=layers,
        answer_rule=rule,
        answer_tokens=options.answer_tokens,
        question=question,
        versions={name: version(name) for name in ("flowtracer", "torch", "transformers")},
        edges=options.edges,
        unseen_layers=unseen_layers(text_config(model)),
    )


def _count_tokens(progress: Progress, most: int, done: int) -> None:
    progress("answering", done, most)


def assemble(
    asked: TokenizedText,
    answered: TokenizedText,
    users: Tensor,
    weights: Tensor,
    graph: TracedGraph,
    provenance: Provenance,
) -> Trace:
    """Plain numbers for the entire text from the graph up to the answer.

    users: which prompt tokens the user wrote, bool. weights: of the response's tokens as answer.
    """
    start, total = len(asked.ids), len(asked.ids) + len(answered.ids)
    shift = len(asked.text)
    roles: list[Role] = ["user" if user else "template" for user in users.tolist()]
    roles += ["answer" if weight > 0 else "response" for weight in weights.tolist()]
    flow = graph.flow
    throughput = _numbers(flow.throughput[0], total)
    between = torch.tensor(
        [role == "response" for role in roles]
    )  # an answer gathers flow by construction
    hubs = find_hubs(torch.tensor(throughput), between)
    kept = {(e.source, e.target): e for e in graph.strongest + graph.backbone}
    edges = sorted(kept.values(), key=lambda e: (-e.flow, e.target, e.source))
    return Trace(
        text=asked.text + answered.text,
        ids=(*asked.ids, *answered.ids),
        offsets=(
            *asked.offsets,
            *((begin + shift, end + shift) for begin, end in answered.offsets),
        ),
        roles=tuple(roles),
        answer_weights=(*[0.0] * start, *_numbers(weights, len(weights))),
        potential=_numbers(flow.potential[0], total),
        inflow=_numbers(flow.inflow[0], total),
        throughput=throughput,
        edges=tuple(Edge(e.source, e.target, _short(e.flow)) for e in edges),
        routes=tuple(Route(r.tokens, _short(r.probability)) for r in graph.routes.routes),
        hubs=hubs.tokens,
        provenance=provenance,
        matched_rule=provenance.answer_rule,
        direct=_short(graph.routes.direct),
        through_one=_short(graph.routes.through_one),
        scores={name: _numbers(values[0], total) for name, values in graph.scores.items()},
        layer_throughput=tuple(_numbers(values[0], total) for values in graph.by_layer),
    )


def _model_name(model: PreTrainedModel) -> str:
    """Hub id, or the name of the folder the model came from: a path would say more than it should."""
    source = str(getattr(model.config, "_name_or_path", "") or type(model).__name__)
    return Path(source).name if Path(source).exists() else source


def _numbers(values: Tensor, length: int) -> tuple[float, ...]:
    """Six significant digits, filled up with zeros to `length`."""
    numbers = [_short(value) for value in values.tolist()]
    return (*numbers, *[0.0] * (length - len(numbers)))


def _short(value: float) -> float:
    return float(f"{value:.6g}")


def _matched(rule: AnswerRule | TokenPositions, response: str, thinking: bool) -> str:
    """The name of the rule that found the answer, of "auto" the one of its rules that did."""
    if isinstance(rule, str) and rule == "auto":
        return matched_rule(response, thinking=thinking)
    return _rule_name(rule)


def _rule_name(rule: AnswerRule | TokenPositions) -> str:
    if isinstance(rule, TokenPositions):
        return f"token positions {list(rule.positions)}"
    return rule_name(rule)


def _not_found(rule: AnswerRule | TokenPositions, response: str) -> str:
    tail = " ".join(response.split())[-60:]
    return (
        f"no answer found by the rule {_rule_name(rule)!r} in a response that ends in {tail!r}; "
        "choose another rule, such as 'last-line' or 'auto'"
    )
