"""`flowtracer eval`: how often a model solves a task."""

from pathlib import Path
from typing import Annotated

import typer

from flowtracer.cli.options import needing
from flowtracer.cli.progress import progress_bar


def evaluate(
    *,
    model: Annotated[str, typer.Option(help="Hub id, folder, or 'embedded'.")] = "embedded",
    task: Annotated[str, typer.Option(help="Name of a task, or a JSON Lines file.")] = "countdown",
    out: Annotated[Path, typer.Option(help="Folder for completions and summary.")] = Path(
        "eval-out"
    ),
    source: Annotated[
        str | None, typer.Option(help="Folder with TASK/SPLIT.jsonl; default: the hub.")
    ] = None,
    split: Annotated[str, typer.Option(help="Split to evaluate.")] = "test",
    limit: Annotated[int | None, typer.Option(min=1, help="Only the first so many.")] = None,
    samples: Annotated[int, typer.Option(min=1, help="Responses per problem.")] = 1,
    temperature: Annotated[float, typer.Option(min=0.0, help="0 is greedy.")] = 0.0,
    top_p: Annotated[float, typer.Option(min=0.0, max=1.0)] = 1.0,
    top_k: Annotated[int, typer.Option(min=0, help="0: all tokens.")] = 0,
    max_new_tokens: Annotated[int, typer.Option(min=1)] = 1024,
    batch: Annotated[int, typer.Option(min=1, help="Responses made together.")] = 32,
    seed: Annotated[int, typer.Option(help="Of sampling, and of generated tasks.")] = 0,
    backend: Annotated[str, typer.Option(help="transformers or vllm.")] = "transformers",
    dtype: Annotated[str, typer.Option(help="auto, float32, bfloat16 or float16.")] = "auto",
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, ...")] = "auto",
    trust_remote_code: Annotated[
        bool, typer.Option("--trust-remote-code", help="Run code that comes with the model.")
    ] = False,
    reward: Annotated[
        str | None, typer.Option(help="package.module:function(response, example) as grader.")
    ] = None,
) -> None:
    """Measure a model's accuracy on a task, with a 95% interval, and pass@k for several samples.

    Writes every completion. Run it again after a kill and it makes only what is missing.
    """
    if samples > 1 and temperature == 0:
        raise ValueError("several samples of a greedy model are all the same; set --temperature")
    with needing("train"):
        from flowtracer.evaluation.backends import BACKENDS
        from flowtracer.evaluation.run import EvalSettings
        from flowtracer.evaluation.run import evaluate as run
        from flowtracer.models.generation import Sampling
        from flowtracer.tasks import load_task
    if backend not in BACKENDS:
        raise ValueError(f"backend {backend!r} is unknown; use {' or '.join(BACKENDS)}")
    loaded = load_task(task, split=split, source=source, limit=limit, seed=seed, reward=reward)
    settings = EvalSettings(
        model=model,
        task=task,
        problems=len(loaded.examples),
        samples=samples,
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
    print(f" x {samples} samples" if samples > 1 else "")
    for k, interval in result.pass_at.items():
        print(f"pass@{k}: {interval}")
    print(f"Completions and summary are in {out}")
