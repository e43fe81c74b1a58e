"""What hiding costs: masked prefill and decoding beside the same batch unmasked through `generate`.

    python bench/intervention.py --model FOLDER_OR_HUB_ID

Texts of different lengths, each under several conditions that hide a fifth of its second half, go on
for a fixed number of tokens. Both sides do the same batch in turns in one process.
"""

import argparse
import json
import statistics
import time
from pathlib import Path

import torch

from flowtracer.intervention import attention_knockout, decode, prefill
from flowtracer.models import load


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="embedded")
    parser.add_argument("--dtype", default="float32")
    parser.add_argument("--lengths", type=int, nargs="+", default=[220, 250, 280, 310])
    parser.add_argument("--conditions", type=int, default=5)
    parser.add_argument("--new-tokens", type=int, default=48)
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()

    loaded = load(options.model, dtype=options.dtype, device="cpu")
    model = loaded.model
    generator = torch.Generator().manual_seed(0)
    vocabulary = min(model.config.get_text_config().vocab_size, len(loaded.tokenizer))
    texts, hidden = [], []
    for length in options.lengths:
        texts.append(torch.randint(3, vocabulary, (length,), generator=generator).tolist())
        gone = torch.rand(options.conditions, length, generator=generator) < 0.2
        gone[:, : length // 2] = False  # the prompt's half
        hidden.append(gone)
    rows = [text for text in texts for _ in range(options.conditions)]
    width = max(map(len, rows))
    ids = torch.tensor([[0] * (width - len(row)) + row for row in rows])
    mask = torch.tensor([[0] * (width - len(row)) + [1] * len(row) for row in rows])

    def masked() -> None:
        with attention_knockout(model) as knockout:
            parts = [
                prefill(model, knockout, *masked_text)
                for masked_text in zip(texts, hidden, strict=True)
            ]
            decode(model, knockout, parts, limits=[options.new_tokens] * len(rows), ends=())

    def plain() -> None:
        count = options.new_tokens
        with torch.no_grad():
            model.generate(
                input_ids=ids,
                attention_mask=mask,
                do_sample=False,
                max_new_tokens=count,
                min_new_tokens=count,
                pad_token_id=0,
            )

    seconds: dict[str, list[float]] = {"masked": [], "plain": []}
    for repeat in range(options.repeats + 1):
        for name, run in (("plain", plain), ("masked", masked)):
            start = time.perf_counter()
            run()
            if repeat:
                seconds[name].append(time.perf_counter() - start)
    medians = {name: statistics.median(values) for name, values in seconds.items()}
    print(
        json.dumps(
            {
                "model": Path(options.model).name,
                "dtype": options.dtype,
                "rows": len(rows),
                "tokens": options.lengths,
                "new_tokens": options.new_tokens,
                "seconds": medians,
                "masked_over_plain": medians["masked"] / medians["plain"],
            },
            indent=1,
        )
    )


if __name__ == "__main__":
    main()
