"""How many rollouts a second `flowtracer score` does, with one and with two workers of Ray.

    python bench/score.py --rows 2000

Rollouts of about 300 tokens for the embedded model: several of its puzzles, worked out one after
another, the box at the end. Whole processes are timed, start of Ray and loading included.
"""

import argparse
import json
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path

STEPS = ("18 + 7 = 25, 25 + 3 = 28, not 33.\n", "18 - 7 = 11, 11 + 3 = 14, not 33.\n",
         "18 - 3 = 15, 15 + 7 = 22, not 33.\n")  # fmt: skip
END = "18 - 7 = 11, 11 * 3 = 33, yes.\n\\boxed{(18 - 7) * 3}"


def make_rollouts(path: Path, rows: int, *, seed: int = 0) -> None:
    """Rows of a prompt and a response of 16 to 22 attempts."""
    draw = random.Random(seed)
    with path.open("w") as file:
        for row in range(rows):
            steps = "".join(draw.choice(STEPS) for _ in range(draw.randint(16, 22)))
            record = {"id": str(row), "prompt": "Make 33 from 3, 7, 18.", "response": steps + END}
            file.write(json.dumps(record) + "\n")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=2000)
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2])
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder) / "rollouts.jsonl"
        make_rollouts(source, options.rows)
        for workers in options.workers:
            out = Path(folder) / f"out-{workers}"
            words = ["score", str(source), "--out", str(out), "--engine", "ray"]
            # One thread each, so that a worker more is a core more.
            code = (
                "import sys, ray; ray.init(num_cpus=int(sys.argv[1]), log_to_driver=False, "
                "include_dashboard=False); from flowtracer.cli import main; "
                "sys.argv = sys.argv[1:]; main()"
            )
            start = time.perf_counter()
            subprocess.run(
                [sys.executable, "-c", code, str(workers), *words, "--workers", str(workers)],
                check=True,
                capture_output=True,
            )
            spent = time.perf_counter() - start
            print(
                f"{workers} workers: {options.rows / spent:.1f} rows/s ({spent:.1f} s)", flush=True
            )


if __name__ == "__main__":
    main()
