"""What sharing prefixes saves: the values of responses by `study value`'s engine and by `generate`.

    python bench/value.py --model FOLDER_OR_HUB_ID

Values before every decision of sampled responses to a task's problems, from K continuations each. On one
side a response runs once and all continuations of a problem's responses go on from their keys and values
together; on the other every continuation is a row of its own, prefix included, in batches of `--rows`
through transformers' `generate`. The sides take turns in one process; the mean reward of each shows that
both did the same work.
"""

import argparse
import json
import statistics

import torch
from measure import processor, seconds

from flowtracer.credit.values import decisions
from flowtracer.evaluation.run import reward_of
from flowtracer.models import Loaded, load
from flowtracer.models.continuation import continue_in_parts, read_text
from flowtracer.models.generation import end_tokens
from flowtracer.regions import decode_text
from flowtracer.studies.sampling import Drawing, draw_responses
from flowtracer.studies.solutions import tokenize_conversation
from flowtracer.tasks import Task, load_task


def shared(
    loaded: Loaded, texts: list[tuple[list[int], list[int]]], limits: list[int], copies: int
) -> list[list[int]]:
    """New tokens of the continuations. texts: each with the lengths of its prefixes."""
    read = [(read_text(loaded.model, ids), lengths) for ids, lengths in texts]
    return continue_in_parts(
        loaded.model,
        [text.prefix(length) for text, lengths in read for length in lengths],
        copies=copies,
        limits=limits,
        ends=end_tokens(loaded.model, loaded.tokenizer),
        temperature=1.0,
        seed=0,
    )


@torch.no_grad()
def separate(
    loaded: Loaded,
    texts: list[tuple[list[int], list[int]]],
    limits: list[int],
    copies: int,
    most: int,
) -> list[list[int]]:
    rows = [ids[:length] for ids, lengths in texts for length in lengths for _ in range(copies)]
    limit_of_row = [limit for limit in limits for _ in range(copies)]
    ends = sorted(end_tokens(loaded.model, loaded.tokenizer))
    continuations: list[list[int]] = []
    torch.manual_seed(0)
    for start in range(0, len(rows), most):
        part, part_limits = rows[start : start + most], limit_of_row[start : start + most]
        width = max(map(len, part))
        tokens = loaded.model.generate(
            input_ids=torch.tensor([[ends[0]] * (width - len(row)) + row for row in part]),
            attention_mask=torch.tensor(
                [[0] * (width - len(row)) + [1] * len(row) for row in part]
            ),
            do_sample=True,
            temperature=1.0,
            top_k=0,
            top_p=1.0,
            max_new_tokens=max(part_limits),
            eos_token_id=ends,
            pad_token_id=ends[0],
        )[:, width:].tolist()
        continuations += [row[:limit] for row, limit in zip(tokens, part_limits, strict=True)]
    return continuations


def mean_reward(
    loaded: Loaded, task: Task, number: int, prefixes: list[list[int]], rows: list[list[int]]
) -> float:
    """Of the continuations (rows) of a problem's started responses (prefixes)."""
    ends = end_tokens(loaded.model, loaded.tokenizer)
    copies = len(rows) // len(prefixes)
    example = task.examples[number]
    total = 0.0
    for index, row in enumerate(rows):
        until = next((i for i, token in enumerate(row) if token in ends), len(row))
        text = decode_text(loaded.tokenizer, prefixes[index // copies] + row[:until])
        total += reward_of(task, text, example)
    return total / len(rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="embedded")
    parser.add_argument("--task", default="countdown")
    parser.add_argument("--problems", type=int, default=6)
    parser.add_argument("--responses", type=int, default=2, help="of a problem")
    parser.add_argument("--continuations", type=int, default=64)
    parser.add_argument("--rows", type=int, default=256, help="rows of a batch of generate")
    options = parser.parse_args()

    loaded = load(options.model, dtype="float32", device="cpu")
    task = load_task(options.task)
    drawing = Drawing(128)
    ratios, means, counts = [], [], []
    for number in range(options.problems):
        example = task.examples[number]
        prompt = list(tokenize_conversation(loaded.tokenizer, task.prompt(example)).ids)
        (responses,) = draw_responses(
            loaded, task, [example], [prompt], drawing, count=options.responses, seed=number
        )
        texts, starts = [], []
        for response in responses:
            ids = [*prompt, *response.ids]
            logs = read_text(loaded.model, ids).log_probability[len(prompt) - 1 :]
            points = decisions(logs, 0.98)
            texts.append((ids, [len(prompt) + point for point in points]))
            starts += [list(response.ids[:point]) for point in points]
        if not starts:
            continue
        rows: dict[str, list[list[int]]] = {}
        limits = [drawing.limit - len(start) for start in starts]
        work = (loaded, texts, limits, options.continuations)
        taken = {
            "separate": seconds(lambda: rows.update(a=separate(*work, options.rows))),  # noqa: B023
            "shared": seconds(lambda: rows.update(b=shared(*work))),  # noqa: B023
        }
        ratios.append(taken["separate"] / taken["shared"])
        means.append([mean_reward(loaded, task, number, starts, rows[side]) for side in "ab"])
        counts.append(len(starts))
        print(number, len(starts), taken, means[-1], flush=True)
    print(
        json.dumps(
            {
                "model": options.model,
                "processor": processor(),
                "problems": len(ratios),
                "responses": options.responses,
                "points": counts,
                "continuations": options.continuations,
                "separate_over_shared": {
                    "median": statistics.median(ratios),
                    "least": min(ratios),
                    "most": max(ratios),
                },
                "mean_reward": [statistics.mean(side) for side in zip(*means, strict=True)],
            },
            indent=1,
        )
    )


if __name__ == "__main__":
    main()
