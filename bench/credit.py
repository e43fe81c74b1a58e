"""What credit costs beside one plain forward over the same sampled responses.

    python bench/credit.py --model FOLDER_OR_HUB_ID --source FOLDER_WITH_GSM8K

Responses are sampled from the model itself. The plain forward gives logits of the completion tokens,
in the same parts that a trainer would use; both sides are timed in turns, medians are compared. With
half of the groups uninformative (no spread in their rewards) credit should cost half.
"""

import argparse
import json
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import torch

from flowtracer.credit import Credit, score_batch, token_credit
from flowtracer.models import load
from flowtracer.models.generation import Sampling, generate
from flowtracer.models.padding import pad_rows
from flowtracer.regions import render_prompt
from flowtracer.tasks import load_task


def medians(cases: dict[str, Callable[[], object]], repeats: int) -> dict[str, float]:
    """Median seconds of each case, in turns, after one warm-up."""
    runs: dict[str, list[float]] = {name: [] for name in cases}
    for repeat in range(repeats + 1):
        for name, case in cases.items():
            start = time.perf_counter()
            case()
            if repeat:
                runs[name].append(time.perf_counter() - start)
    return {name: statistics.median(values) for name, values in runs.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="embedded")
    parser.add_argument("--task", default="countdown")
    parser.add_argument("--source", help="folder with TASK/SPLIT.jsonl")
    parser.add_argument("--dtype", default="auto")
    parser.add_argument("--groups", type=int, default=4)
    parser.add_argument("--responses", type=int, default=8, help="of each group")
    parser.add_argument("--max-new-tokens", type=int, default=320)
    parser.add_argument("--part", type=int, default=8, help="rows of one plain forward")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()

    loaded = load(options.model, dtype=options.dtype, device="cpu")
    model, tokenizer = loaded.model, loaded.tokenizer
    task = load_task(options.task, source=options.source, limit=options.groups)
    rendered = [render_prompt(tokenizer, task.prompt(example)).text for example in task.examples]
    prompts = [text for text in rendered for _ in range(options.responses)]
    sampling = Sampling(1.0, max_new_tokens=options.max_new_tokens)
    texts = generate(loaded, prompts, sampling, seed=0)

    def encode(rows: list[str]) -> list[list[int]]:
        return [tokenizer(text, add_special_tokens=False)["input_ids"] for text in rows]

    padding = tokenizer.pad_token_id or 0
    prompt_ids, prompt_mask = pad_rows(encode(prompts), value=padding, left=True)
    completion_ids, completion_mask = pad_rows(encode(texts), value=padding, left=False)
    parts = {
        "prompt_ids": prompt_ids,
        "prompt_mask": prompt_mask,
        "completion_ids": completion_ids,
        "completion_mask": completion_mask,
    }
    ids = torch.cat([prompt_ids, completion_ids], 1)
    mask = torch.cat([prompt_mask, completion_mask], 1)
    credit = Credit(answer=task.answer_rule)
    batch = score_batch(tokenizer, **parts, answer=credit.answer)
    half = torch.arange(len(ids)) < len(ids) // 2

    def plain() -> None:
        with torch.no_grad():
            for start in range(0, len(ids), options.part):
                rows = slice(start, start + options.part)
                kept = completion_ids.shape[1] + 1
                model(ids[rows], attention_mask=mask[rows], use_cache=False, logits_to_keep=kept)

    def give(row_mask: torch.Tensor | None) -> None:
        scored = score_batch(tokenizer, **parts, answer=credit.answer)
        token_credit(model, scored, credit, row_mask=row_mask)

    cases = {"plain": plain, "credit": lambda: give(None), "half": lambda: give(half)}
    seconds = medians(cases, options.repeats)
    result = {
        "model": Path(options.model).name,
        "task": options.task,
        "dtype": str(model.dtype).removeprefix("torch."),
        "rows": len(ids),
        "prompt_tokens": int(prompt_mask.sum()),
        "completion_tokens": int(completion_mask.sum()),
        "padded_to": list(ids.shape),
        "rows_with_answer": int(batch.scorable.sum()),
        "seconds": seconds,
        "credit_over_plain": seconds["credit"] / seconds["plain"],
        "half_over_plain": seconds["half"] / seconds["plain"],
    }
    print(json.dumps(result, indent=1))
    if options.out:
        options.out.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
