"""Reading, scoring and writing at once: what one after another gives, in bounded memory."""

import threading

import pytest

pytest.importorskip("pyarrow.parquet", reason="needs the extra flowtracer[score]")

from helpers.rollouts import SETTINGS, long_record, record, table, write

from flowtracer.rollouts.pipeline import ahead, behind
from flowtracer.rollouts.shards import plan
from flowtracer.rollouts.worker import Worker


def threads_of_stages():
    return [thread for thread in threading.enumerate() if thread.name.startswith("flowtracer-")]


def worker_in(folder):
    folder.mkdir()
    (folder / "score.json").write_text("{}")
    return Worker(SETTINGS, str(folder))


@pytest.fixture
def source(tmp_path):
    """Windows of several sizes: long rows, short ones, errors between them, a shard of errors only."""
    rows = [record(number) if number % 3 else long_record(number) for number in range(40)]
    rows = [row if number % 7 else "{broken\n" for number, row in enumerate(rows)]
    return write(tmp_path / "in.jsonl", rows + ["[1]\n"] * 8 + [record(0)])


@pytest.mark.parametrize("most", [1, 2])
def test_stages_at_once_give_what_one_after_another_gives(source, tmp_path, most):
    shards = plan([source], 8)
    done = {}
    for name, limit in (("sequential", 0), ("overlapped", most)):
        done[name] = list(worker_in(tmp_path / name).score(shards, most=limit))
    assert done["overlapped"] == done["sequential"]
    assert [part.number for part in done["sequential"]] == list(range(len(shards)))
    assert table(tmp_path / "overlapped") == table(tmp_path / "sequential")
    for path in (tmp_path / "sequential" / "errors").iterdir():
        assert (tmp_path / "overlapped" / "errors" / path.name).read_text() == path.read_text()
    assert not threads_of_stages()


@pytest.mark.parametrize("most", [0, 2])
def test_a_failure_in_reading_is_raised_and_earlier_parts_are_there(source, tmp_path, most):
    shards = plan([source], 8)
    lines = source.read_text().splitlines(keepends=True)
    source.write_text("".join(lines[:20]))  # in the third shard
    worker = worker_in(tmp_path / "out")
    with pytest.raises(ValueError, match="became shorter while it was read"):
        list(worker.score(shards, most=most))
    assert len(list((tmp_path / "out" / "parts").iterdir())) == 2
    assert not threads_of_stages()


@pytest.mark.parametrize("most", [0, 2])
def test_a_failure_in_writing_is_raised(source, tmp_path, most):
    worker = worker_in(tmp_path / "out")
    (tmp_path / "out" / "parts" / "part-000001.parquet").mkdir(parents=True)
    with pytest.raises(OSError, match="part-000001"):
        list(worker.score(plan([source], 8), most=most))
    assert (tmp_path / "out" / "parts" / "part-000000.parquet").is_file()
    assert not list((tmp_path / "out").rglob("*.partial")) and not threads_of_stages()


@pytest.mark.parametrize("most", [0, 1, 3])
def test_no_more_items_are_made_than_may_wait(most):
    made = []

    def items():
        for number in range(20):
            made.append(number)
            yield number

    taken = []
    for item in ahead(items(), most):
        taken.append(item)
        threading.Event().wait(0.002)
        assert len(made) <= len(taken) + most
    assert taken == list(range(20)) and not threads_of_stages()


@pytest.mark.parametrize("most", [0, 1, 3])
def test_no_more_results_wait_than_may(most):
    begun, handled, most_waiting = 0, 0, 0

    def items():
        nonlocal begun, most_waiting
        for number in range(20):
            most_waiting = max(most_waiting, begun - handled)
            begun += 1
            yield number

    def slow(number):
        nonlocal handled
        threading.Event().wait(0.002)
        handled += 1
        return -number

    assert list(behind(slow, items(), most)) == [-number for number in range(20)]
    assert most_waiting <= most


@pytest.mark.parametrize("most", [0, 1, 3])
def test_an_exception_comes_after_the_items_in_front_of_it(most):
    def items():
        yield from range(5)
        raise RuntimeError("the disk is gone")

    taken, written = [], []
    with pytest.raises(RuntimeError, match="the disk is gone"):
        for item in ahead(items(), most):
            taken.append(item)
    with pytest.raises(RuntimeError, match="the disk is gone"):
        list(behind(written.append, items(), most))
    assert taken == written == list(range(5)) and not threads_of_stages()


def test_a_stage_ends_when_nobody_takes_its_items_any_more():
    endless = ahead(iter(int, 1), 2)
    next(endless)
    endless.close()
    assert not threads_of_stages()
