"""Who works off the shards: this process, or workers of Ray Data on this machine or many."""

import json
import logging
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from typing import Any

from flowtracer.rollouts.shards import Shard
from flowtracer.rollouts.worker import Done, ScoreSettings, Worker

Engine = Callable[[Sequence[Shard], ScoreSettings, str, int], Iterator[Done]]


def local_engine(
    shards: Sequence[Shard], settings: ScoreSettings, folder: str, workers: int
) -> Iterator[Done]:
    """One worker in this process, with all its threads."""
    yield from Worker(settings, folder).score(shards)


def ray_engine(
    shards: Sequence[Shard], settings: ScoreSettings, folder: str, workers: int
) -> Iterator[Done]:
    """Ray Data: `workers` actors that load the model once each and take shards as they are free.

    A local Ray is started where none is running; RAY_ADDRESS names a cluster's. On a cluster the
    input and `folder` must be on storage that all machines see.

    Raises ValueError if Ray is not installed.
    """
    try:
        import ray
    except ImportError as error:
        raise ValueError(
            "engine 'ray' needs Ray; install it with `pip install 'flowtracer[ray]'`"
        ) from error
    started = not ray.is_initialized()
    if started:
        os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")
        ray.init(log_to_driver=False, include_dashboard=False, logging_level=logging.ERROR)
    try:
        logging.getLogger("ray.data").setLevel(logging.ERROR)
        context = ray.data.DataContext.get_current()
        context.enable_progress_bars = False
        on_gpu = ray.cluster_resources().get("GPU", 0) >= workers
        threads = max(1, int(ray.cluster_resources().get("CPU", os.cpu_count() or 1)) // workers)
        rows = [{"shard": json.dumps(asdict(shard))} for shard in shards]
        # A block for each shard, so that a worker that is free takes the next one.
        done = ray.data.from_items(rows, override_num_blocks=len(rows)).map(
            _RayWorker,  # type: ignore[arg-type]
            fn_constructor_args=(settings, folder, threads),
            compute=ray.data.ActorPoolStrategy(size=workers),
            num_gpus=1 if on_gpu else 0,
            num_cpus=1,
            scheduling_strategy="SPREAD",  # or one machine of a cluster may get all workers
        )
        for row in done.iter_rows():
            yield Done(**json.loads(row["done"]))
    finally:
        if started:
            ray.shutdown()


class _RayWorker:
    """A worker as Ray Data calls it: a shard in, its result out."""

    def __init__(self, settings: ScoreSettings, folder: str, threads: int) -> None:
        self.worker = Worker(settings, folder, threads)

    def __call__(self, row: dict[str, Any]) -> dict[str, Any]:
        (done,) = self.worker.score([Shard(**json.loads(row["shard"]))])
        return {"done": json.dumps(asdict(done))}


ENGINES: dict[str, Engine] = {"local": local_engine, "ray": ray_engine}
