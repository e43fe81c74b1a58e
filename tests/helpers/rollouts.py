"""Rollouts of the embedded model's Countdown solutions, written to files, and what scoring makes of them."""

import json
import os
import random

from flowtracer.rollouts.worker import ScoreSettings
from helpers.responses import GOOD, NO_BOX, SHORT

PROMPT = "Make 33 from 3, 7, 18."
SETTINGS = ScoreSettings("embedded", max_tokens=400, batch_tokens=2000)
ENVIRONMENT = os.environ | {"OMP_NUM_THREADS": "1"}


def record(number):
    text = (GOOD, SHORT, NO_BOX)[number % 3].removesuffix("<|end|>")
    return {"id": f"r{number}", "prompt": PROMPT, "response": text, "advantage": (-1.0) ** number}


def write(path, records):
    path.write_text(
        "".join(entry if isinstance(entry, str) else json.dumps(entry) + "\n" for entry in records)
    )
    return path


def long_record(number):
    """A rollout of about 300 tokens."""
    draw = random.Random(number)
    tried = "".join(
        f"18 {draw.choice('+-')} 7 = {draw.choice(('25', '11'))}, 11 + 3 = 14, not 33.\n"
        for _ in range(draw.randint(14, 18))
    )
    return record(3 * number) | {"response": tried + record(0)["response"]}


def table(folder):
    """All rows of a scored folder, in order."""
    import pyarrow.parquet as parquet

    return parquet.read_table(folder / "parts").to_pylist()


def error_rows(folder):
    """Rows of errors.jsonl."""
    return [json.loads(line) for line in (folder / "errors.jsonl").read_text().splitlines()]
