"""Who works off the shards: this process, or workers of Ray Data on this machine or many."""

import json
import logging
import os
import pickle
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from flowtracer.models.loading import load_config, load_tokenizer
from flowtracer.rollouts.shards import Shard, ShardReader
from flowtracer.rollouts.windows import read_windows
from flowtracer.rollouts.worker import Done, ScoreSettings, Worker, reading_of

Engine = Callable[[Sequence[Shard], ScoreSettings, str, int | None], Iterator[Done]]
SHARDS_OF_A_CALL = (
    4  # at most, our choice: a worker reads ahead in them, and waits for its next call
)
# Our choices for machines with GPUs: a worker launches from one core and writes from another. A core reads
# about a thousand rows a second, a GPU scores some hundreds, so further readers would wait.
CORES_BESIDE_GPU, READERS_OF_A_WORKER = 2, 4


@dataclass(frozen=True)
class Reservation:
    """What is reserved for the workers of a cluster."""

    workers: int
    cpus: int  # of each, and so many threads
    gpus: int  # of each, 0 or 1
    readers: int = 0  # of one core each, for all workers; 0: the workers read themselves


def local_engine(
    shards: Sequence[Shard], settings: ScoreSettings, folder: str, workers: int | None
) -> Iterator[Done]:
    """One worker in this process, with all its threads."""
    yield from Worker(settings, folder).score(shards)


def ray_engine(
    shards: Sequence[Shard], settings: ScoreSettings, folder: str, workers: int | None
) -> Iterator[Done]:
    """Ray Data: actors that load the model once each and take shards as they are free.

    Beside GPUs, other actors read the shards, one at a time so that its rows stay together, and Ray
    brings them to the workers before they are needed.

    workers: None for as many as GPUs, at least one. A local Ray is started where none is running;
    RAY_ADDRESS names a cluster's. On a cluster the input and `folder` must be on storage that all
    machines see.

    Raises ValueError if Ray is not installed, or as `reserve`.
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
        nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
        reserved = reserve(nodes, workers, on_cpu=settings.device.startswith("cpu"))
        several = 1 if reserved.readers else SHARDS_OF_A_CALL
        size = max(1, min(several, len(shards) // (4 * reserved.workers)))
        calls = [shards[start : start + size] for start in range(0, len(shards), size)]
        rows = [{"shards": json.dumps([asdict(shard) for shard in call])} for call in calls]
        # A block for each call, so that a worker that is free takes the next one.
        data: Any = ray.data.from_items(rows, override_num_blocks=len(rows))
        if reserved.readers:
            data = data.map(
                _RayReader,
                fn_constructor_args=(settings,),
                compute=ray.data.ActorPoolStrategy(min_size=1, max_size=reserved.readers),
                num_cpus=1,
            )
        done = data.flat_map(
            _RayWorker,
            fn_constructor_args=(settings, folder, reserved.cpus),
            compute=ray.data.ActorPoolStrategy(size=reserved.workers),
            # Ray Data schedules by one of them; the cores beside GPUs are those that readers do not get.
            num_gpus=reserved.gpus,
            num_cpus=0 if reserved.readers else reserved.cpus,
            scheduling_strategy="SPREAD",  # or one machine of a cluster may get all workers
        )
        for row in done.iter_rows():
            yield Done(**json.loads(row["done"]))
    finally:
        if started:
            ray.shutdown()


def reserve(
    nodes: Sequence[Mapping[str, float]], workers: int | None, *, on_cpu: bool = False
) -> Reservation:
    """The cores of the machines shared out between the workers, and a GPU for each where there are any.

    Beside GPUs, cores that the workers leave are for readers.

    nodes: of each machine, how much it has of "CPU" and "GPU". workers: None for as many as GPUs, at
    least one. on_cpu: whether GPUs are not to be used.

    Raises ValueError if there are GPUs, but not one for each worker, or not a core for each.
    """
    cpus = [int(node.get("CPU", 0)) for node in nodes]
    gpus = [0 if on_cpu else int(node.get("GPU", 0)) for node in nodes]
    workers = max(1, sum(gpus)) if workers is None else workers
    if 0 < sum(gpus) < workers:
        raise ValueError(
            f"{workers} workers need a GPU each, but Ray has {sum(gpus)}; use --workers {sum(gpus)}, "
            "or --device cpu"
        )
    for threads in range(sum(cpus) // workers, 0, -1):  # a worker runs on one machine
        fitting = (
            min(cpu // threads, gpu) if sum(gpus) else cpu // threads
            for cpu, gpu in zip(cpus, gpus, strict=True)
        )
        if sum(fitting) >= workers:
            if not sum(gpus):
                return Reservation(workers, threads, 0)
            threads = min(threads, CORES_BESIDE_GPU)
            readers = min(sum(cpus) - workers * threads, workers * READERS_OF_A_WORKER)
            return Reservation(workers, threads, 1, readers)
    beside = " on the machine of its GPU" if sum(gpus) else ""
    raise ValueError(
        f"{workers} workers need a core each{beside}, but Ray has {sum(cpus)} cores; use fewer --workers"
    )


class _RayReader:
    """Reads shards as Ray Data calls it: which ones in, their windows out."""

    def __init__(self, settings: ScoreSettings) -> None:
        trust = settings.trust_remote_code
        tokenizer = load_tokenizer(settings.model, trust_remote_code=trust)
        config = load_config(settings.model, trust_remote_code=trust)
        self.reader, self.reading = ShardReader(), reading_of(settings, tokenizer, config)

    def __call__(self, row: dict[str, Any]) -> dict[str, Any]:
        windows = list(read_windows(self.reader, _shards(row), self.reading))
        return {"windows": pickle.dumps(windows)}


class _RayWorker:
    """A worker as Ray Data calls it: shards or their windows in, what became of each shard out."""

    def __init__(self, settings: ScoreSettings, folder: str, threads: int) -> None:
        self.worker = Worker(settings, folder, threads)

    def __call__(self, row: dict[str, Any]) -> Iterator[dict[str, Any]]:
        if "windows" in row:
            results = self.worker.score_windows(pickle.loads(row["windows"]))
        else:
            results = self.worker.score(_shards(row))
        for done in results:
            yield {"done": json.dumps(asdict(done))}


def _shards(row: Mapping[str, Any]) -> list[Shard]:
    return [Shard(**shard) for shard in json.loads(row["shards"])]


ENGINES: dict[str, Engine] = {"local": local_engine, "ray": ray_engine}
