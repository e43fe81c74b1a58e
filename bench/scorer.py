"""The service against the scorer in this process, alternated: rates, medians and their ratio.

    python bench/scorer.py
    python bench/scorer.py --model Qwen/Qwen3-0.6B --device cuda --rows 32 --tokens 1024

The server is a process of its own with the same model. Responses are random ids with an answer at their end;
a row has between half of `--tokens` and all of it.
"""

import argparse
import json
import random
import statistics
import subprocess
import sys
import time
from typing import Any

from measure import processor

from flowtracer import Scorer, ScorerClient


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--model", default="embedded")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--rule", default="flow")
    parser.add_argument("--rows", type=int, default=32, help="rows of a request")
    parser.add_argument("--tokens", type=int, default=256, help="longest row")
    parser.add_argument("--repeats", type=int, default=15)
    options = parser.parse_args()
    scorer = Scorer(options.model, rule=options.rule, device=options.device)
    command = [sys.executable, "-m", "flowtracer", "serve", "--score", "--port", "0"]
    command += ["--model", options.model, "--rule", options.rule, "--device", options.device]
    server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        assert server.stdout is not None
        client = ScorerClient(server.stdout.readline().split()[-1])
        figures = _measure(scorer, client, options)
    finally:
        server.terminate()
        server.wait(timeout=30)
    print(json.dumps(figures, indent=1))


def _measure(scorer: Scorer, client: ScorerClient, options: argparse.Namespace) -> dict[str, Any]:
    """Seconds of both on the same rows, in turn; which goes first changes."""
    seconds: dict[str, list[float]] = {"in_process": [], "service": []}
    outside: list[float] = []
    equal = True
    for repeat in range(options.repeats + 1):  # the first warms both up
        rows = _rows(scorer, options.rows, options.tokens, seed=repeat)
        turns = [("in_process", scorer), ("service", client)]
        results = []
        for name, backend in turns[:: 1 if repeat % 2 else -1]:
            before = client.info()["totals"]["seconds"]
            began = time.perf_counter()
            results.append(backend.weights(*rows))
            took = time.perf_counter() - began
            if repeat:
                seconds[name].append(took)
            if repeat and name == "service":
                outside.append(took - (client.info()["totals"]["seconds"] - before))
        equal = equal and results[0] == results[1]
    medians = {name: statistics.median(values) for name, values in seconds.items()}
    ratios = [a / b for a, b in zip(seconds["in_process"], seconds["service"], strict=True)]
    return {
        "processor": processor(),
        "model": options.model,
        "rows": options.rows,
        "tokens_at_most": options.tokens,
        "median_seconds": medians,
        "median_seconds_of_service_outside_the_scorer": statistics.median(outside),
        "rows_per_second": {name: options.rows / value for name, value in medians.items()},
        "rate_of_service_to_in_process": {
            "of_medians": medians["in_process"] / medians["service"],
            "median_of_pairs": statistics.median(ratios),
            "range": [min(ratios), max(ratios)],
        },
        "equal": equal,
    }


def _rows(
    scorer: Scorer, count: int, longest: int, *, seed: int
) -> tuple[list[list[int]], list[int]]:
    """Token ids and lengths of prompts; eight responses to each prompt."""
    draw = random.Random(seed)
    answer = scorer.tokenizer("\\boxed{42}", add_special_tokens=False)["input_ids"]
    special = set(scorer.tokenizer.all_special_ids)
    usual = [
        token
        for token in range(min(len(scorer.tokenizer), scorer.vocabulary))
        if token not in special
    ]
    ids, lengths = [], []
    prompt: list[int] = []
    for number in range(count):
        if number % 8 == 0:
            prompt = draw.choices(usual, k=longest // 4)
        body = draw.randint(longest // 2, longest) - len(prompt) - len(answer)
        ids.append([*prompt, *draw.choices(usual, k=max(1, body)), *answer])
        lengths.append(len(prompt))
    return ids, lengths


if __name__ == "__main__":
    main()
