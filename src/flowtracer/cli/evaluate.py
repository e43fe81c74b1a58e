"""`flowtracer eval`: how often a model solves a task."""

from pathlib import Path
from typing import Annotated

from flowtracer.cli import options
from flowtracer.cli.extras import needing
from flowtracer.cli.progress import progress_bar


def evaluate(
    *,
    model: options.Model = "embedded",
    dtype: options.Dtype = "auto",
    device: options.Device = "auto",
    trust_remote_code: options.TrustRemoteCode = False,
    task: options.Task = "countdown",
    source: options.Source = None,
    split: options.Split = "test",
    problems: Annotated[
        int | None,
        options.option(options.TASK, "Use only this many, the first ones.", min=1),
    ] = None,
    reward: Annotated[
        str | None,
        options.option(options.TASK, "package.module:function(response, example) as grader."),
    ] = None,
    responses: Annotated[
        int, options.option(options.GENERATION, "Responses per problem.", min=1)
    ] = 1,
    temperature: options.Temperature = 0.0,
    top_p: Annotated[
        float,
        options.option(
            options.GENERATION,
            "Sample from the likeliest tokens of this total probability; 1: all.",
            min=0.0,
            max=1.0,
        ),
    ] = 1.0,
    top_k: Annotated[
        int,
        options.option(
            options.GENERATION, "Sample from this many of the likeliest tokens; 0: all.", min=0
        ),
    ] = 0,
    max_new_tokens: options.MaxNewTokens = 1024,
    batch: options.Batch = 32,
    seed: options.Seed = 0,
    backend: Annotated[
        str, options.option(options.GENERATION, "transformers or vllm.")
    ] = "transformers",
    out: options.Out = Path("runs/eval"),
    config: options.Config = None,
) -> None:
    """Measure a model's accuracy on a task, with a 95% interval, and pass@k for several responses.

    Writes every completion. Run it again after a kill and it generates only what is missing.
    """
    if responses > 1 and temperature == 0:
        raise ValueError("several responses of a greedy model are all the same; set --temperature")
    with needing("train"):
        from flowtracer.evaluation.backends import BACKENDS
        from flowtracer.evaluation.run import EvalSettings
        from flowtracer.evaluation.run import evaluate as run
        from flowtracer.models.generation import Sampling
        from flowtracer.tasks import load_task
    if backend not in BACKENDS:
        raise ValueError(f"backend {backend!r} is unknown; use {' or '.join(BACKENDS)}")
    loaded = load_task(task, split=split, source=source, limit=problems, seed=seed, reward=reward)
    settings = EvalSettings(
        model=model,
        task=task,
        problems=len(loaded.examples),
        samples=responses,
        seed=seed,
        batch=batch,
        sampling=Sampling(temperature, top_p, top_k, max_new_tokens),
        backend=backend,
        dtype=dtype,
        device=device,
        trust_remote_code=trust_remote_code,
    )
    with progress_bar() as report:
        result = run(settings, loaded, out, progress=lambda done, of: report("answering", done, of))
    print(f"{loaded.name}: {result.accuracy} of {len(loaded.examples)} problems", end="")
    print(f" x {responses} responses" if responses > 1 else "")
    for k, interval in result.pass_at.items():
        print(f"pass@{k}: {interval}")
    print(f"Completions and summary are in {out}")
