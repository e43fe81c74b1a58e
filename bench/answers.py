"""What finding the answers of a batch costs: from the tokens' own texts, and by decoding everything.

    python bench/answers.py --models FOLDER_OR_HUB_ID ... --lengths 1024 8192

Each row is worked-out arithmetic with a box at its end, and one as long without any answer, which the
rules search through. Both ways take turns in one process: `find_answers`, and
`decode_all_with_offsets` with `answer_weights`, which is how tokenizers are read that the table cannot
read. Milliseconds of processor time a row, medians; "first" is the first row of a tokenizer, for which
its table is filled.
"""

import argparse
import itertools
import json
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import torch
from measure import DEFAULT_FOLDER, processor
from transformers import AutoTokenizer, PreTrainedTokenizerBase

import flowtracer
from flowtracer.regions import answer_weights, decode_all_with_offsets, rule_name
from flowtracer.scorers.responses import find_answers

STEP = (
    "Step {n}: we think that $x_{{{n}}} = \\frac{{{n}}}{{7}} + 3$, so the option to take is 18 - 7 = 11.\n"
    "Wait, the answer of before was wrong, because {n} * 3 is not 33 but {m}.\n"
)
END = "So the answer is \\boxed{(18 - 7) * 3}."
NO_END = "So the numbers are (18 - 7) * 3 as we said."
RULES = ("auto", "boxed", "tag", "gsm8k", "choice", "stated", "last-line", "line", "explained",
         "regex:ANSWER: (.*)")  # fmt: skip


def response(tokenizer: PreTrainedTokenizerBase, length: int, end: str) -> list[int]:
    """Token ids of so many steps that they and the end have this length."""
    closing = tokenizer(end, add_special_tokens=False)["input_ids"]
    steps = "".join(STEP.format(n=n, m=3 * n) for n in range(length // 20))
    worked = tokenizer(steps, add_special_tokens=False)["input_ids"]
    return worked[: length - len(closing)] + closing


def decoded(tokenizer: PreTrainedTokenizerBase, rows: torch.Tensor, rule: str) -> torch.Tensor:
    """The weights of whole rows by decoding and encoding them."""
    texts = decode_all_with_offsets(tokenizer, rows.tolist())
    return torch.stack([answer_weights(rule, text) for text in texts])


def milliseconds(case: Callable[[], object]) -> float:
    start = time.process_time()
    case()
    return 1000 * (time.process_time() - start)


def batch(rows: list[list[int]]) -> tuple[torch.Tensor, torch.Tensor]:
    """Ids and completion mask: a prompt of one token before each response."""
    responses = torch.tensor(rows)
    ids = torch.cat([responses[:, :1], responses], 1)
    mask = torch.ones_like(ids)
    mask[:, 0] = 0
    return ids, mask


def measure(
    tokenizer: PreTrainedTokenizerBase, rows: list[list[int]], repeats: int
) -> dict[str, tuple[float, float]]:
    """Milliseconds a row for each rule, by decoding and by the table."""
    ids, mask = batch(rows)
    taken = {}
    for rule in RULES:
        new = find_answers(tokenizer, ids, mask, mask, rule)[:, 1:]
        if not torch.equal(new, decoded(tokenizer, ids[:, 1:], rule)):
            raise SystemExit(f"the two ways differ for the rule {rule_name(rule)}")
        old_times, new_times = [], []
        for _ in range(repeats):
            old_times.append(milliseconds(lambda r=rule: decoded(tokenizer, ids[:, 1:], r)))
            new_times.append(
                milliseconds(lambda r=rule: find_answers(tokenizer, ids, mask, mask, r))
            )
        taken[rule] = tuple(statistics.median(each) / len(ids) for each in (old_times, new_times))
    return taken


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    folder = DEFAULT_FOLDER.expanduser()
    embedded = Path(flowtracer.__file__).parent / "embedded"
    parser.add_argument("--models", nargs="+", default=[str(embedded), str(folder / "smollm2")])
    parser.add_argument("--lengths", type=int, nargs="+", default=[1024, 8192])
    parser.add_argument("--rows", type=int, default=4)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--out", type=Path, help="JSON file for the figures")
    options = parser.parse_args()
    torch.set_num_threads(1)
    figures = []
    print(processor())
    print(
        "| tokenizer | tokens | ends in | decoding, `auto` | table, `auto` | the slowest rule | first |"
    )
    print("|---|---|---|---|---|---|---|")
    for model, length in itertools.product(options.models, options.lengths):
        for name, end in (("a box", END), ("nothing", NO_END)):
            tokenizer = AutoTokenizer.from_pretrained(model)
            tokenizer.model_max_length = 1 << 30  # no warning of long rows
            row = response(tokenizer, length, end)
            ids, mask = batch([row])
            first = milliseconds(lambda: find_answers(tokenizer, ids, mask, mask, "auto"))  # noqa: B023
            taken = measure(tokenizer, [row] * options.rows, options.repeats)
            slowest = max(taken, key=lambda rule: taken[rule][1])
            old, new = taken["auto"]
            times = [f"{old:.1f} ms", f"{new:.2f} ms", f"`{slowest}` {taken[slowest][1]:.2f} ms"]
            print(
                "|",
                " | ".join((Path(model).name, f"{length:,}", name, *times, f"{first:.1f} ms")),
                "|",
            )
            figures.append([Path(model).name, length, name, first, taken])
    if options.out:
        options.out.write_text(json.dumps(figures) + "\n")


if __name__ == "__main__":
    main()
