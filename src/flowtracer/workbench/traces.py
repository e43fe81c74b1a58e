"""A text traced from its token ids, for any answer, layers, edges and scorer."""

import hashlib
from dataclasses import dataclass, replace
from typing import Any, get_args

import torch
from torch import Tensor

from flowtracer.attention import model_layers
from flowtracer.attention.mean import Edges
from flowtracer.flow.targeted import AnswerTokens
from flowtracer.regions import TokenPositions, matched_rule
from flowtracer.regions.prompts import Question
from flowtracer.render.page_data import page_data
from flowtracer.scorers.batch import ScoreBatch
from flowtracer.scorers.scorer import ScoreOptions
from flowtracer.scorers.table import EXTRA_SCORERS, SCORERS, find_scorer, score_evidence
from flowtracer.tracing.data import Trace
from flowtracer.tracing.graph import layer_throughput, read_graph
from flowtracer.tracing.scores import local_scores, text_batch
from flowtracer.tracing.trace import (
    AnswerNotFound,
    assemble,
    find_answer_tokens,
    provenance_of,
)
from flowtracer.workbench.engine import Engine
from flowtracer.workbench.evidence import LOCAL, cut, layers_of, matrix_of, read_evidence
from flowtracer.workbench.fields import Refused, Request, choice, items, string
from flowtracer.workbench.jobs import Job
from flowtracer.workbench.texts import Text

MOST_SPANS = 100  # of a dragged answer, our choice
BYTES_PER_EDGE = 100  # about, of a trace in memory


@dataclass(frozen=True)
class Asked:
    """Where the answer is and how it is traced. answer: a rule, or response tokens."""

    answer: str | tuple[int, ...]
    options: ScoreOptions
    question: Question
    scorer: str


def trace(engine: Engine, request: Request, job: Job) -> dict[str, Any]:
    """Page data of a text's flow, with the scores of another scorer where one is asked for."""
    text = engine.find(string(request, "text"))
    asked = read_options(engine, request, text)
    name, made = trace_text(engine, text, asked, job)
    return data_of(made) | {"trace": name}


def data_of(made: Trace) -> dict[str, Any]:
    """Page data of a trace, every scorer with a note."""
    data = page_data(made)
    for name, scorer in data["scorers"].items():
        scorer["note"] = scorer["note"] or help_of(name)
    return data


def read_options(engine: Engine, request: Request, text: Text) -> Asked:
    """The trace that a request asks for. Raises Refused."""
    scorer = choice(request, "scorer", [*SCORERS, *EXTRA_SCORERS], "flow")
    options = ScoreOptions(
        layers=string(request, "layers", "middle", most=200),
        edges=choice(request, "edges", get_args(Edges), "mean"),  # type: ignore[arg-type]
        answer_tokens=choice(  # type: ignore[arg-type]
            request, "answer_tokens", get_args(AnswerTokens), "absorb"
        ),
    )
    model_layers(engine.model, options.layers)
    question: Question = choice(  # type: ignore[assignment]
        request, "question", get_args(Question), "prompt"
    )
    return Asked(read_answer(request, text), options, question, scorer)


def read_answer(request: Request, text: Text) -> str | tuple[int, ...]:
    """A rule's name, or the response tokens of dragged spans. Raises Refused."""
    if not isinstance(request.get("answer"), dict):
        return string(request, "answer", "auto", most=500)
    count = len(text.answered.ids)
    chosen: set[int] = set()
    for span in items(request["answer"], "spans", most=MOST_SPANS):
        if not (
            isinstance(span, list) and len(span) == 2 and all(type(end) is int for end in span)
        ):
            raise Refused("answer: spans must be [first, last] pairs of response tokens")
        first, last = span
        if not 0 <= first <= last < count:
            raise Refused(
                f"answer: [{first}, {last}] does not lie in the response's {count} tokens (0 first)"
            )
        chosen.update(range(first, last + 1))
    if not chosen:
        raise Refused("answer: mark at least one token of the response")
    return tuple(sorted(chosen))


def find_answer_weights(answer: str | tuple[int, ...], text: Text) -> tuple[Tensor, str]:
    """Weight of every response token as answer (R,), and the rule's name.

    Raises Refused where no answer is found.
    """
    asked = answer if isinstance(answer, str) else TokenPositions(answer)
    try:
        weights, rule = find_answer_tokens(asked, text.answered, thinking=text.thinking)
    except AnswerNotFound:
        raise Refused(
            f"no answer found by the rule {answer!r} in the response; choose another rule, or mark the "
            "answer by dragging over it"
        ) from None
    return weights, rule if isinstance(rule, str) else "marked by hand"


def trace_text(engine: Engine, text: Text, asked: Asked, job: Job) -> tuple[str, Trace]:
    """The trace's name and the trace, from what is kept where that can be."""
    if not text.answered.ids:
        raise Refused("the response is empty; let the model answer, or paste a response")
    weights, rule = find_answer_weights(asked.answer, text)
    batch = _batch(engine, text, weights, asked.question)
    options = asked.options
    # Layers as they are written: for "middle", scorers by heads take others than for the same numbers.
    settings = (asked.answer, options.layers, options.edges, options.answer_tokens, asked.question)
    name = hashlib.sha256(repr((text.id, text.roles, settings)).encode()).hexdigest()[:12]
    made: Trace | None = engine.traces.get(name)
    if made is None:
        made = _flow(engine, text, batch, weights, rule, asked, job)
    if asked.scorer != "flow" and asked.scorer not in made.scores:
        scores = _scores(engine, text, batch, asked, job)
        made = replace(made, scores=made.scores | {asked.scorer: scores})
    made = replace(made, correct=text.correct, cut_off=text.cut_off)
    keep_trace(engine, name, made)
    return name, made


def keep_trace(engine: Engine, name: str, made: Trace) -> None:
    """Remember a trace under a name."""
    size = len(made.edges) + len(made.ids) * (8 + len(made.scores) + len(made.layer_throughput))
    engine.traces.put(name, made, BYTES_PER_EDGE * size)


def find_trace(engine: Engine, name: str) -> Trace:
    """The trace of this name. Raises Refused."""
    made: Trace | None = engine.traces.get(name)
    if made is None:
        raise Refused("this trace is not known here any more; trace the text again", 404)
    return made


def help_of(scorer: str) -> str:
    """What a scorer is, in a sentence: the first of its function's docstring; "" for an unknown one."""
    if scorer not in SCORERS and scorer not in EXTRA_SCORERS:
        return ""
    text = " ".join((find_scorer(scorer).score.__doc__ or "").split("\n\n")[0].split())
    return text.removesuffix(", (B, T).").rstrip(".") + "."


def is_local(scorer: str) -> bool:
    """Whether it asks the model nothing once a text was traced with these layers."""
    return find_scorer(scorer).needs <= LOCAL


def _batch(engine: Engine, text: Text, weights: Tensor, question: str) -> ScoreBatch:
    if question == "user" and not any(text.user):
        raise Refused("nobody knows what of this prompt the user wrote; use question 'prompt'")
    sources = [user or question == "prompt" for user in text.user]
    batch = text_batch(
        text.asked,
        text.answered,
        question=torch.tensor([*sources, *[False] * len(text.answered.ids)]),
        answer=torch.cat([torch.zeros(text.start), weights]),
    )
    return replace(batch, tokenizer=engine.tokenizer).to(engine.model.device)


def _flow(
    engine: Engine,
    text: Text,
    batch: ScoreBatch,
    weights: Tensor,
    rule: str,
    asked: Asked,
    job: Job,
) -> Trace:
    options = asked.options
    evidence = read_evidence(
        engine, text.id, batch, frozenset({"attention"}), options, job, tiles=True
    )
    end = text.start + int(weights.nonzero().max()) + 1  # nothing behind the answer matters
    attention = cut(matrix_of(evidence), end)
    here = batch.take(torch.tensor([0]), slice(end))
    job.check()
    graph = read_graph(
        attention, here.question, here.candidates, here.answer, options.answer_tokens
    )
    by_layer = []
    for layer in layers_of(engine, text.id, options):
        job.check()
        by_layer.append(
            layer_throughput(cut(layer, end), here.question, here.answer, options.answer_tokens)
        )
    scores = local_scores(attention, here, evidence.layers, options)
    graph = replace(graph, scores=scores, by_layer=tuple(by_layer))
    provenance = provenance_of(
        engine.model, engine.name, evidence.layers, options, rule, asked.question
    )
    made = assemble(text.asked, text.answered, torch.tensor(text.user), weights, graph, provenance)
    if rule == "auto":
        return replace(made, matched_rule=matched_rule(text.answered.text, thinking=text.thinking))
    return made


def _scores(
    engine: Engine, text: Text, batch: ScoreBatch, asked: Asked, job: Job
) -> tuple[float, ...]:
    scorer = find_scorer(asked.scorer)
    if scorer.check is not None:
        scorer.check()
    evidence = read_evidence(engine, text.id, batch, scorer.needs, asked.options, job)
    scores = score_evidence(evidence, asked.scorer, asked.options)
    return tuple(float(f"{score:.6g}") for score in scores[0].tolist())
