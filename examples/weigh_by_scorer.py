"""Weights for a trainer whose workers have no attention to read: a scorer beside it.

    python examples/weigh_by_scorer.py
    python examples/weigh_by_scorer.py --url http://127.0.0.1:8642    # of `flowtracer serve --score`

The trainer has token ids and an advantage of each response, and multiplies weights into advantages.
"""

import argparse

from flowtracer import Scorer, ScorerClient
from flowtracer.models import load_tokenizer

PROMPT = "<|user|>Make 33 from 3, 7, 18.<|end|><|assistant|>"
RESPONSES = {
    "18 - 7 = 11, 11 * 3 = 33, yes.\n\\boxed{(18 - 7) * 3}<|end|>": 0.7,
    "18 + 7 = 25, 25 + 3 = 28, not 33.\n": -0.7,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--url", help="of a server; without it the model runs in this process")
    options = parser.parse_args()
    tokenizer = load_tokenizer("embedded")
    prompt = tokenizer(PROMPT, add_special_tokens=False)["input_ids"]
    rows = [prompt + tokenizer(text, add_special_tokens=False)["input_ids"] for text in RESPONSES]

    scorer = ScorerClient(options.url) if options.url else Scorer("embedded")
    result = scorer.weights(rows, prompt_lengths=[len(prompt)] * len(rows))
    for row, state, advantage in zip(
        result.responses, result.states, RESPONSES.values(), strict=True
    ):
        advantages = [advantage * weight for weight in row]
        more = sum(weight > 1 for weight in row)
        print(f"{state}: {more} of {len(row)} tokens get {max(advantages, key=abs):+.2f}")


if __name__ == "__main__":
    main()
