"""`flowtracer train`: one run from a YAML file."""

from dataclasses import fields
from pathlib import Path
from typing import Annotated

import typer

from flowtracer.cli.extras import needing
from flowtracer.cli.progress import silence_training
from flowtracer.credit.arguments import CreditArguments
from flowtracer.option_names import read_settings_file

EPILOG = (
    "Any other option is one of TRL's GRPOConfig or ModelConfig, of the task (--task, --source, --split, "
    "--problems, --reward) or of the credit (--method, --credit-forward, "
    + ", ".join(
        f"--{field.name.replace('_', '-')}"
        for field in fields(CreditArguments)
        if field.name != "scorer"
    )
    + "; --calibrated-rules, --calibrated-every and others of docs/training.md), or says which rollouts are "
    "kept (--rollouts-every, --rollouts-count), and takes precedence over the file: "
    "flowtracer train configs/countdown.yaml --method grpo --seed 1"
)


def train(
    context: typer.Context,
    config: Annotated[Path, typer.Argument(help="YAML file; see the folder configs.")],
    restart: Annotated[
        bool,
        typer.Option(
            "--restart", help="Delete the checkpoints and the model in output_dir, begin anew."
        ),
    ] = False,
    allow_env: Annotated[
        bool, typer.Option("--allow-env", help="Let the file set environment variables (env).")
    ] = False,
) -> None:
    """Train with GRPO and credit for the tokens that carry the answer.

    Run it again with the same settings after a kill and it continues from the last checkpoint, as if
    nothing had happened.
    """
    read_settings_file(config)  # a wrong file is told before anything heavy is imported
    silence_training()
    with needing("train"):
        from flowtracer.training.arguments import read_settings
        from flowtracer.training.run import train as run
    folder = run(read_settings(config, context.args, allow_env=allow_env), restart=restart)
    print(f"The trained model, metrics.jsonl, curves.png and rollouts.html are in {folder}")
