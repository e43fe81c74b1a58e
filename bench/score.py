"""How many rollouts a second `flowtracer score` does, with one and with two workers of Ray.

    python bench/score.py --rows 2000

Rollouts of 300 to 400 tokens for the embedded model: several of its puzzles, worked out one after
another, the box at the end. The rate is counted from the first part written to the last one; whole
processes, start of Ray and loading included, are timed beside it.
"""

import argparse
import json
import random
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pyarrow.parquet as parquet

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


def steady_rate(parts: Path) -> float:
    """Rows a second from the first part that was written to the last one."""
    files = sorted(parts.glob("part-*.parquet"), key=lambda path: path.stat().st_mtime_ns)
    begin, end = (files[index].stat().st_mtime_ns / 1e9 for index in (0, -1))
    rows = sum(parquet.read_metadata(path).num_rows for path in files[1:])
    return rows / (end - begin)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=2000)
    parser.add_argument("--shard-rows", type=int, default=64)
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()
    total: dict[int, list[float]] = {1: [], 2: []}
    steady: dict[int, list[float]] = {1: [], 2: []}
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder) / "rollouts.jsonl"
        make_rollouts(source, options.rows)
        for repeat in range(options.repeats):
            for workers in total:
                out = Path(folder) / f"out-{repeat}-{workers}"
                words = ["score", str(source), "--out", str(out), "--engine", "ray"]
                words += ["--shard-rows", str(options.shard_rows), "--workers", str(workers)]
                # One core of Ray and one thread for each worker.
                code = (
                    "import sys, ray; ray.init(num_cpus=int(sys.argv[1]), log_to_driver=False, "
                    "include_dashboard=False); from flowtracer.cli.main import main; "
                    "sys.argv = sys.argv[1:]; main()"
                )
                start = time.perf_counter()
                subprocess.run(
                    [sys.executable, "-c", code, str(workers), *words],
                    check=True,
                    capture_output=True,
                )
                total[workers].append(options.rows / (time.perf_counter() - start))
                steady[workers].append(steady_rate(out / "parts"))
                print(
                    f"{workers} workers: {steady[workers][-1]:.1f} rows/s, with start and loading "
                    f"{total[workers][-1]:.1f}",
                    flush=True,
                )
    for name, rates in (("rate", steady), ("with start and loading", total)):
        first, second = (statistics.median(rates[workers]) for workers in (1, 2))
        print(f"{name}: {first:.1f} and {second:.1f} rows/s, {second / first:.2f} times")


if __name__ == "__main__":
    main()
