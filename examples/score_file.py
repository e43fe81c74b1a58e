"""From a file of rollouts to weighted advantages: sample, `flowtracer score`, read the result.

    python examples/score_file.py --problems 20 --out scored

The file of rollouts has a prompt, a response and a reward in each line, as trainers log them.
"""

import argparse
import json
import subprocess
import sys
from pathlib import Path

import pyarrow.parquet as parquet
import torch

from flowtracer import apply_credit, load
from flowtracer.gradients.objective import group_normalised
from flowtracer.models.generation import Sampling, generate
from flowtracer.regions import render_prompt
from flowtracer.tasks import load_task


def write_rollouts(path: Path, problems: int, responses: int) -> None:
    """Let the embedded model solve each problem several times."""
    loaded = load("embedded")
    task = load_task("countdown", split="test", limit=problems)
    asked = [example for example in task.examples for _ in range(responses)]
    prompts = [render_prompt(loaded.tokenizer, task.prompt(example)).text for example in asked]
    sampling = Sampling(temperature=1.0, max_new_tokens=128)
    texts = generate(loaded, prompts, sampling, seed=0)
    with path.open("w", encoding="utf-8") as file:
        for number, (example, text) in enumerate(zip(asked, texts, strict=True)):
            row = {
                "id": str(number),
                "messages": task.prompt(example),
                "response": text,
                "reward": task.grade_response(text, example),
            }
            file.write(json.dumps(row) + "\n")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--problems", type=int, default=20)
    parser.add_argument("--responses", type=int, default=4)
    parser.add_argument("--out", type=Path, default=Path("scored"))
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    rollouts, scores = options.out / "rollouts.jsonl", options.out / "scores"

    write_rollouts(rollouts, options.problems, options.responses)
    command = [sys.executable, "-m", "flowtracer", "score", str(rollouts), "--out", str(scores)]
    subprocess.run(command, check=True)  # run again after a kill, it goes on where it stopped

    rewards = torch.tensor([json.loads(line)["reward"] for line in rollouts.open(encoding="utf-8")])
    groups = torch.arange(len(rewards)) // options.responses
    advantages = group_normalised(rewards, groups)
    for row in parquet.read_table(scores / "parts").to_pylist()[: options.responses]:
        response = slice(row["prompt_tokens"], None)
        weights = torch.tensor([row["weight"][response]])
        mask = torch.tensor([row["candidate"][response]])
        weighted = apply_credit(advantages[row["row"]][None], weights, mask)  # (1, tokens)
        print(
            f"rollout {row['id']}: advantage {advantages[row['row']]:+.2f}, "
            f"{int((weights > 1).sum())} of {weights.shape[1]} tokens get {weighted.abs().max():.2f}"
        )


if __name__ == "__main__":
    main()
