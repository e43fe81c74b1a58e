"""Measure the embedded model on held-out problems, and write its card.

python scripts/embedded/evaluate.py build/embedded/model --card build/embedded/model/README.md
"""

import argparse
import json
import random
import re
from pathlib import Path

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from flowtracer.regions import find_answer
from flowtracer.tasks.countdown import Problem, held_out_problems, is_solution

LONGEST = 160
STEP = re.compile(r"(\d+) ([-+*/]) (\d+) = (\d+)")


def respond(model, tokenizer, problems: list[Problem], *, sample: bool, seed: int) -> list[str]:
    """One response to each problem, in batches of 250."""
    torch.manual_seed(seed)
    texts = []
    for start in range(0, len(problems), 250):
        prompts = [
            tokenizer.apply_chat_template(
                [{"role": "user", "content": problem.prompt}],
                add_generation_prompt=True,
                tokenize=False,
            )
            for problem in problems[start : start + 250]
        ]
        batch = tokenizer(prompts, return_tensors="pt", padding=True, return_token_type_ids=False)
        choice = (
            {"do_sample": True, "temperature": 1.0, "top_k": 0} if sample else {"do_sample": False}
        )
        output = model.generate(**batch, max_new_tokens=LONGEST, **choice)
        texts += tokenizer.batch_decode(
            output[:, batch["input_ids"].shape[1] :], skip_special_tokens=True
        )
    return texts


def is_right(text: str, problem: Problem) -> bool:
    return any(
        is_solution(text[span.start : span.stop], problem) for span in find_answer(text, "boxed")
    )


def interval(hits: list[bool], seed: int = 0) -> tuple[float, float]:
    """95% bootstrap interval of a share, in %."""
    generator = random.Random(seed)
    means = sorted(sum(generator.choices(hits, k=len(hits))) / len(hits) for _ in range(2000))
    return 100 * means[50], 100 * means[1949]


def right_steps(texts: list[str]) -> float:
    """Share of the written operations whose result is right, in %."""
    operations = {
        "+": lambda a, b: a + b, "-": lambda a, b: a - b,
        "*": lambda a, b: a * b, "/": lambda a, b: a / b if b else None,
    }  # fmt: skip
    steps = [step for text in texts for step in STEP.findall(text)]
    right = sum(operations[op](int(a), int(b)) == int(c) for a, op, b, c in steps)
    return 100 * right / len(steps)


def measure(folder: Path, how_many: int, seed: int) -> dict:
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    problems = held_out_problems(how_many, seed)
    sampled = respond(model, tokenizer, problems, sample=True, seed=seed)
    greedy = respond(model, tokenizer, problems, sample=False, seed=seed)
    hits = [is_right(text, problem) for text, problem in zip(sampled, problems, strict=True)]
    low, high = interval(hits)
    return {
        "problems": how_many,
        "seed": seed,
        "parameters": sum(p.numel() for p in model.parameters()),
        "sampled_percent": 100 * sum(hits) / how_many,
        "sampled_interval_95": [round(low, 1), round(high, 1)],
        "greedy_percent": 100
        * sum(is_right(t, p) for t, p in zip(greedy, problems, strict=True))
        / how_many,
        "boxed_percent": 100 * sum(bool(find_answer(t, "boxed")) for t in sampled) / how_many,
        "with_failed_attempt_percent": 100 * sum("not" in t for t in sampled) / how_many,
        "gave_up_percent": 100 * sum("I stop here" in t for t in sampled) / how_many,
        "right_steps_percent": round(right_steps(sampled), 2),
        "mean_tokens": sum(len(tokenizer(t)["input_ids"]) for t in sampled) / how_many,
    }


CARD = """\
---
license: apache-2.0
pipeline_tag: text-generation
---
# The embedded Countdown model

A Qwen3-architecture model of {parameters:,} parameters (6 layers, hidden 128, 4 heads with 2
key-value heads of size 32, MLP 320, tied embeddings) with a word-level tokenizer. It solves
Countdown with three numbers step by step: it tries ways to combine the numbers, says of each
whether it gives the target, and ends in `\\boxed{{expression}}`. Sometimes it gives up.

It is here to have something real and small to trace, and something for reinforcement learning to
improve. It knows nothing else: numbers to 200, and the words of its task.

## Measured

{problems:,} held-out problems (chosen by a hash of the problem, so that no training run sees
them, whatever the order of the numbers), one response each, seed {seed}, weights as stored
(bfloat16, run in float32):

| | |
|---|---|
| solved, sampled at temperature 1 | {sampled_percent:.1f}% (95% bootstrap interval {low} to {high}) |
| solved, greedy | {greedy_percent:.1f}% |
| responses that end in a box | {boxed_percent:.1f}% |
| responses with a failed attempt | {with_failed_attempt_percent:.1f}% |
| responses that give up | {gave_up_percent:.1f}% |
| written operations that are right | {right_steps_percent:.2f}% |
| mean length of a response | {mean_tokens:.0f} tokens |

    python scripts/embedded/evaluate.py src/flowtracer/embedded

## Made with

    python scripts/embedded/train.py --work build/embedded

1,500 steps of 128 worked solutions (seed 0): up to four wrong attempts in random order, then the
solution, or, in a third of them, giving up and boxing the last wrong attempt. AdamW, peak learning
rate 3e-3, cosine, float32, about 38 minutes on 2 cores. No outside data.
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--problems", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--card", type=Path, help="write the model card here")
    options = parser.parse_args()
    result = measure(options.folder, options.problems, options.seed)
    print(json.dumps(result, indent=1))
    if options.card:
        low, high = result["sampled_interval_95"]
        options.card.write_text(CARD.format(low=low, high=high, **result))


if __name__ == "__main__":
    main()
