"""Runs that were killed or started again: nothing lost, nothing twice, one kind of settings a folder."""

import json
import random
import signal
import subprocess
import sys
import time

import pytest

parquet = pytest.importorskip("pyarrow.parquet", reason="needs the extra flowtracer[score]")
FileLock = pytest.importorskip("filelock").FileLock

from helpers.kills import start  # noqa: E402
from helpers.rollouts import ENVIRONMENT, SETTINGS, long_record, record, table, write  # noqa: E402

from flowtracer.credit import Credit, ScoreOptions  # noqa: E402
from flowtracer.rollouts.score import score_files  # noqa: E402
from flowtracer.rollouts.worker import ScoreSettings  # noqa: E402


@pytest.fixture(scope="module")
def scored(tmp_path_factory):
    folder = tmp_path_factory.mktemp("score")
    source = write(folder / "in.jsonl", [record(number) for number in range(20)])
    counts = score_files(source, folder / "out", SETTINGS, shard_rows=7)
    assert (counts.rows, counts.errors, counts.parts) == (20, 0, 3)
    return source, folder / "out"


def last_line(text):
    return [(0, len(text))]


def test_a_run_with_a_function_in_its_settings_goes_on(tmp_path):
    source = write(tmp_path / "in.jsonl", [record(0)])
    for _ in range(2):
        score_files(source, tmp_path / "out", ScoreSettings("embedded", Credit(answer=last_line)))
    name = json.loads((tmp_path / "out" / "score.json").read_text())["credit"]["answer"]
    assert name == "last_line"


def test_layers_that_the_model_does_not_have_end_the_run_at_once(tmp_path):
    source = write(tmp_path / "in.jsonl", [record(0)])
    settings = ScoreSettings("embedded", Credit(options=ScoreOptions(layers="20-30")))
    with pytest.raises(ValueError, match="layers: 20 does not exist"):
        score_files(source, tmp_path / "out", settings)
    assert not (tmp_path / "out" / "parts").exists()


def killed_and_resumed(tmp_path, times, records, *, shard_rows, engine=()):
    rows = len(records)
    source = write(tmp_path / "in.jsonl", records)
    command = [sys.executable, "-m", "flowtracer", "score", str(source)]
    command += ["--shard-rows", str(shard_rows), *engine]
    draw = random.Random(0)
    whole = subprocess.run([*command, "--out", "whole"], cwd=tmp_path, env=ENVIRONMENT, check=False)
    assert whole.returncode == 0
    parts = tmp_path / "killed" / "parts"
    for kill in range(times):
        process = subprocess.Popen(
            [*command, "--out", "killed"], cwd=tmp_path, env=ENVIRONMENT, stderr=subprocess.DEVNULL
        )
        deadline = time.monotonic() + 120
        wanted = (kill + 1) * (rows // shard_rows) // (times + 2) + 1
        while time.monotonic() < deadline and process.poll() is None:
            if parts.exists() and len(list(parts.glob("part-*.parquet"))) >= wanted:
                break
            time.sleep(0.002)
        time.sleep(draw.random() * 0.1)
        process.send_signal(signal.SIGKILL)
        process.wait()
        assert not (tmp_path / "killed" / "manifest.json").exists()
    assert (
        subprocess.run([*command, "--out", "killed"], cwd=tmp_path, env=ENVIRONMENT).returncode == 0
    )
    assert table(tmp_path / "killed") == table(tmp_path / "whole")


def test_a_killed_run_goes_on_with_nothing_lost_and_nothing_twice(tmp_path):
    killed_and_resumed(tmp_path, 1, [record(number) for number in range(150)], shard_rows=5)


@pytest.mark.slow
@pytest.mark.parametrize("engine", ["local", "ray"])
def test_2000_rollouts_killed_three_times_end_the_same(tmp_path, engine):
    words = ()
    if engine == "ray":
        pytest.importorskip("ray", reason="needs the extra flowtracer[ray]")
        words = ("--engine", "ray", "--workers", "2")
    records = [long_record(number) for number in range(2000)]
    killed_and_resumed(tmp_path, 3, records, shard_rows=25, engine=words)


def test_two_runs_and_other_settings_are_refused(scored, tmp_path):
    source, out = scored
    with FileLock(out / ".lock"), pytest.raises(ValueError, match="is in use by another run"):
        score_files(source, out, SETTINGS, shard_rows=7)
    with pytest.raises(ValueError, match="do not say what the user wrote"):
        score_files(source, tmp_path / "users", ScoreSettings("embedded", Credit(question="user")))
    with pytest.raises(ValueError, match=r"credit\.scorer was 'flow', is 'random'"):
        score_files(source, out, ScoreSettings("embedded", Credit(scorer="random")), shard_rows=7)
    with pytest.raises(ValueError, match="shard_rows was 7, is 8"):
        score_files(source, out, SETTINGS, shard_rows=8)
    with pytest.raises(ValueError, match="engine 'magic' is unknown; use local or ray"):
        score_files(source, out, SETTINGS, engine="magic")
    with pytest.raises(ValueError, match="no such file"):
        score_files(tmp_path / "nothing.jsonl", out, SETTINGS)
    empty = write(tmp_path / "empty.jsonl", ["\n"])
    with pytest.raises(ValueError, match="has no rows"):
        score_files(empty, tmp_path / "out", SETTINGS)
    (tmp_path / "odd.parquet").write_text("no parquet")
    with pytest.raises(ValueError, match="cannot be read"):
        score_files(tmp_path / "odd.parquet", tmp_path / "out2", SETTINGS)


@pytest.mark.slow
def test_twenty_kills_at_random_moments_and_two_at_once(tmp_path, bar):
    """While it starts, while it reads, between parts and inside of them: the same rows in the end."""
    write(tmp_path / "in.jsonl", [record(number) for number in range(1000)] + ["{broken\n"])
    words = ("score", "in.jsonl", "--shard-rows", "4", "--out")
    whole = start(tmp_path, *words, "whole")
    whole.join()
    assert whole.exitcode == 3
    folder, draw = tmp_path / "killed", random.Random(0)

    def count():
        return len(list(folder.glob("parts/*.parquet")))

    half_written = rivals = 0
    for kill in range(20):
        wanted = count() + (0 if kill % 4 == 3 else draw.randint(1, 8))
        process = start(tmp_path, *words, "killed")
        deadline = time.monotonic() + 240
        while process.is_alive() and count() < wanted and time.monotonic() < deadline:
            time.sleep(0.002)
        if kill in (4, 8):  # a second run while the first one works
            rival = start(tmp_path, *words, "killed")
            rival.join()
            assert rival.exitcode == 1
            rivals += 1
        time.sleep(draw.random() * (1 if kill % 4 == 3 else 0.05))
        assert process.is_alive(), "too few rows for so many kills"
        process.kill()
        process.join()
        half_written += len(list(folder.rglob("*.partial")))
    last = start(tmp_path, *words, "killed")
    last.join()
    assert last.exitcode == 3
    assert (tmp_path / "printed").read_text().count("is in use by another run") == rivals
    assert table(folder) == table(tmp_path / "whole")
    for name in ("errors.jsonl", "manifest.json"):
        assert (folder / name).read_text() == (tmp_path / "whole" / name).read_text()
    assert not list(folder.rglob("*.partial"))
    bar(
        "kills of score",
        20,
        f"same rows, errors and manifest; {half_written} half-written files gone",
    )
    bar("two runs of score at once", rivals, "the second refused in one sentence")
