"""What credit adds to a training step: a pass of its own against riding on the loss's forward pass.

    python bench/riding.py --seeds 4

Short runs of `flowtracer train` with configs/countdown.yaml (or another config), each way from the same model
and seed, in turns in one process. Printed are medians over all steps of `credit/seconds` and `step_time`,
and the largest difference between the parameters of both ways at the end.
"""

import argparse
import statistics
import tempfile
from pathlib import Path

import torch
from safetensors.torch import load_file

from flowtracer.training.arguments import read_settings
from flowtracer.training.metrics import METRICS_FILE, read_metrics
from flowtracer.training.run import train

CONFIG = Path(__file__).parents[1] / "configs/countdown.yaml"


def parameters(folder: Path) -> torch.Tensor:
    """All weights of a saved model in one row."""
    weights = [load_file(file) for file in sorted(folder.glob("*.safetensors"))]
    return torch.cat([tensors[name].flatten() for tensors in weights for name in sorted(tensors)])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--config", type=Path, default=CONFIG)
    parser.add_argument("--seeds", type=int, default=4)
    parser.add_argument("--steps", type=int, default=2, help="of each run")
    options, rest = parser.parse_known_args()

    forwards = ["own", "ride"]
    seconds: dict[str, list[float]] = {name: [] for name in forwards}
    steps: dict[str, list[float]] = {name: [] for name in forwards}
    apart = 0.0
    for seed in range(options.seeds):
        ends = []
        for forward in forwards if seed % 2 == 0 else forwards[::-1]:
            with tempfile.TemporaryDirectory() as folder:
                words = ["--credit_forward", forward, "--seed", str(seed), "--output_dir", folder]
                words += ["--max_steps", str(options.steps), "--save_strategy", "no", *rest]
                saved = train(read_settings(options.config, words))
                rows = [r for r in read_metrics(saved / METRICS_FILE) if "credit/seconds" in r]
                seconds[forward] += [row["credit/seconds"] for row in rows]
                steps[forward] += [row["step_time"] for row in rows]
                ends.append(parameters(saved))
        apart = max(apart, float((ends[0] - ends[1]).abs().max()))
    print("| credit_forward | credit, s | step, s |\n|---|---|---|")
    for name in forwards:
        print(
            f"| {name} | {statistics.median(seconds[name]):.3f} | {statistics.median(steps[name]):.2f} |"
        )
    print(f"\nParameters differ by at most {apart:.1e}.")


if __name__ == "__main__":
    main()
