"""How much of what moves the answer does the flow through softmax attention see, in a hybrid and in its twin?

    python scripts/hybrids/measure.py --work build/hybrids --out results/hybrids

Effects of every token on log p(answer), with the response as it is: its embedding replaced by the mean
embedding, which works on layers of any kind, and the token hidden from softmax attention in all layers.
"""

import argparse
import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from settings import EVALUATION_SEED, PROBLEMS, RATIO, SEEDS, SOFTMAX_LAYERS
from task import Example, example
from torch import Tensor
from transformers import AutoModelForCausalLM, PreTrainedModel
from transformers.integrations.sdpa_attention import sdpa_attention_forward

from flowtracer import answer_flow, mean_attention
from flowtracer.intervention import Knockout
from flowtracer.models.swap import swapped_attention
from flowtracer.statistics.intervals import bootstrap, runs_interval
from flowtracer.studies.value.agreement import rank_correlation

Figures = dict[str, float]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--work", type=Path, default=Path("build/hybrids"))
    parser.add_argument("--out", type=Path, default=Path("results/hybrids"))
    options = parser.parse_args()
    generator = random.Random(EVALUATION_SEED)
    problems = [example(generator) for _ in range(PROBLEMS)]
    rows: dict[str, list[list[Figures]]] = {}
    for kind in SOFTMAX_LAYERS:
        models = (
            AutoModelForCausalLM.from_pretrained(options.work / f"{kind}-{seed}") for seed in SEEDS
        )
        rows[kind] = [[measure(model.eval(), problem) for problem in problems] for model in models]
    solved = [
        number
        for number in range(PROBLEMS)
        if all(run[number]["right"] for runs in rows.values() for run in runs)
    ]
    result: dict[str, Any] = {"problems": PROBLEMS, "solved by all": len(solved)}
    for kind, runs in rows.items():
        result[kind] = {
            "right": [float(np.mean([figures["right"] for figures in run])) for run in runs]
        }
        for name in (name for name in runs[0][0] if name != "right"):
            values = np.array([[run[number][name] for number in solved] for run in runs])
            interval = runs_interval(np.nan_to_num(values), bootstrap)
            ends = (interval.value, interval.low, interval.high)
            result[kind][name] = [round(end, 4) for end in ends]
    options.out.mkdir(parents=True, exist_ok=True)
    (options.out / "figures.json").write_text(json.dumps(result, indent=1) + "\n")
    print(json.dumps(result, indent=1))


def measure(model: PreTrainedModel, problem: Example) -> Figures:
    """Figures of one problem. "right" says whether the model gives the answer at all."""
    ids = torch.tensor([[*problem.prompt, *problem.response]])
    length, start = ids.shape[1] - 1, len(problem.prompt)  # the answer is the last token
    with torch.no_grad():
        logits = model(ids[:, :length]).logits[0, -1]
        replaced = replacement_effects(model, ids)
        hidden = knockout_effects(model, ids)
    figures = {"right": float(logits.argmax() == ids[0, -1])}
    question = torch.zeros_like(ids).bool()
    question[0, :start] = True
    answer = torch.zeros_like(question)
    answer[0, -1] = True
    sides = {"response": slice(start, length), "prompt": slice(0, start)}
    for layers in ("middle", "all"):
        flow = answer_flow(mean_attention(model, ids, layers=layers), question, answer)
        for side, part in sides.items():
            seen, effect = flow.throughput[0, part], replaced[part]
            figures[f"rank correlation, {side}, {layers}"] = rank_correlation(
                seen.numpy(), effect.numpy()
            )
            figures[f"share of effect in the top 40%, {side}, {layers}"] = share(seen, effect)
    for side, part in sides.items():
        figures[f"share of effect in the top 40% by hiding, {side}"] = share(
            hidden[part], replaced[part]
        )
        figures[f"rank correlation of hiding, {side}"] = rank_correlation(
            hidden[part].numpy(), replaced[part].numpy()
        )
    return figures


def log_probability(model: PreTrainedModel, ids: Tensor, **inputs: Tensor) -> Tensor:
    """Of the answer, (rows,)."""
    return model(**inputs).logits[:, -1].log_softmax(-1)[:, ids[0, -1]]


def replacement_effects(model: PreTrainedModel, ids: Tensor) -> Tensor:
    """Drop of the answer's log-probability with a token's embedding replaced, (T - 1,)."""
    table = model.get_input_embeddings().weight
    plain = table[ids[0, :-1]]
    changed = plain.repeat(len(plain), 1, 1)
    changed[range(len(plain)), range(len(plain))] = table.mean(0)
    before = log_probability(model, ids, inputs_embeds=plain[None])
    return before - log_probability(model, ids, inputs_embeds=changed)


def knockout_effects(model: PreTrainedModel, ids: Tensor) -> Tensor:
    """Drop with a token hidden from softmax attention, (T - 1,); other layers pass it on as before."""
    text = ids[:, :-1].expand(ids.shape[1] - 1, -1)
    before = log_probability(model, ids, input_ids=ids[:, :-1])
    knockout = Knockout(torch.eye(len(text), dtype=torch.bool))
    attend: Callable[..., Any] = sdpa_attention_forward
    with swapped_attention(model.model, attend, knockout.mask, name=type(model).__name__):
        return before - log_probability(model, ids, input_ids=text)


def share(score: Tensor, effect: Tensor) -> float:
    """Part of the positive effects that the tokens with the highest scores have."""
    effect = effect.clamp(min=0)
    count = int(np.ceil(RATIO * len(score) - 1e-9))
    return float(effect[score.topk(count).indices].sum() / effect.sum().clamp(min=1e-6))


if __name__ == "__main__":
    main()
