"""Files of rollouts through `flowtracer score`: whole, damaged, killed, in one process and in many."""

import json
import os
import random
import signal
import subprocess
import sys
import time

import pytest
import torch

parquet = pytest.importorskip("pyarrow.parquet", reason="needs the extra flowtracer[score]")
pyarrow = pytest.importorskip("pyarrow")
FileLock = pytest.importorskip("filelock").FileLock

from helpers.responses import GOOD, NO_BOX, SHORT  # noqa: E402

from flowtracer.credit import Credit, score_batch, token_credit  # noqa: E402
from flowtracer.rollouts.score import score_files  # noqa: E402
from flowtracer.rollouts.worker import ScoreSettings  # noqa: E402

PROMPT = "Make 33 from 3, 7, 18."
SETTINGS = ScoreSettings("embedded", max_tokens=400, batch_tokens=2000)


def record(number):
    text = (GOOD, SHORT, NO_BOX)[number % 3].removesuffix("<|end|>")
    return {"id": f"r{number}", "prompt": PROMPT, "response": text, "advantage": (-1.0) ** number}


def write(path, records):
    path.write_text(
        "".join(one if isinstance(one, str) else json.dumps(one) + "\n" for one in records)
    )
    return path


def table(folder):
    return parquet.read_table(folder / "parts").to_pylist()


@pytest.fixture(scope="module")
def scored(tmp_path_factory):
    folder = tmp_path_factory.mktemp("score")
    source = write(folder / "in.jsonl", [record(number) for number in range(20)])
    found = score_files(source, folder / "out", SETTINGS, shard_rows=7)
    assert (found.rows, found.errors, found.parts) == (20, 0, 3)
    return source, folder / "out"


def test_rows_hold_the_credit_of_their_rollout(scored, embedded):
    rows = table(scored[1])
    assert [one["row"] for one in rows] == list(range(20))
    assert [one["id"] for one in rows] == [f"r{number}" for number in range(20)]
    for one in rows[:3]:
        prompt, ids = (
            one["token_ids"][: one["prompt_tokens"]],
            one["token_ids"][one["prompt_tokens"] :],
        )
        parts = {
            "prompt_ids": torch.tensor([prompt]), "prompt_mask": torch.ones(1, len(prompt)).long(),
            "completion_ids": torch.tensor([ids]), "completion_mask": torch.ones(1, len(ids)).long(),
        }  # fmt: skip
        batch = score_batch(embedded.tokenizer, **parts)
        given = token_credit(embedded.model, batch, Credit())
        assert one["weight"] == given.weights[0].tolist()
        assert one["candidate"] == batch.candidates[0].tolist()
        assert one["answer"] == batch.answer[0].tolist()
        torch.testing.assert_close(
            torch.tensor(one["score"]), given.scores[0], rtol=1e-3, atol=1e-6
        )
        sign = (-1.0) ** one["row"]
        assert one["advantages"] == [sign * w for w in one["weight"][len(prompt) :]]
    assert [one["answered"] for one in rows[:3]] == [True, True, False]
    assert set(rows[2]["weight"]) == {1.0}


def test_text_and_ids_and_parquet_and_parts_of_a_folder_give_the_same_rows(scored, tmp_path):
    rows = table(scored[1])
    records = [
        {
            "id": one["id"],
            "prompt_ids": one["token_ids"][: one["prompt_tokens"]],
            "response_ids": one["token_ids"][one["prompt_tokens"] :],
            "advantages": [(-1.0) ** one["row"]] * (len(one["token_ids"]) - one["prompt_tokens"]),
        }
        for one in rows
    ]
    source = tmp_path / "in"
    source.mkdir()
    write(source / "a.jsonl", records[:9])
    parquet.write_table(
        pyarrow.Table.from_pylist(records[9:]), source / "b.parquet", row_group_size=4
    )
    score_files(source, tmp_path / "out", SETTINGS, shard_rows=7)
    again = table(tmp_path / "out")
    for one, other in zip(rows, again, strict=True):
        scores = torch.tensor(one.pop("score")), torch.tensor(other.pop("score"))
        torch.testing.assert_close(*scores, rtol=1e-3, atol=1e-6)
        assert one == other


def test_rows_of_a_damaged_page_are_told_one_by_one(tmp_path):
    path = tmp_path / "in.parquet"
    records = [record(number) for number in range(60)]
    parquet.write_table(
        pyarrow.Table.from_pylist(records), path, row_group_size=20, compression="zstd"
    )
    column = parquet.read_metadata(path).row_group(1).column(2)
    data = bytearray(path.read_bytes())
    middle = column.data_page_offset + column.total_compressed_size // 2
    data[middle : middle + 40] = b"\x00" * 40
    path.write_bytes(data)
    found = score_files(path, tmp_path / "out", SETTINGS, shard_rows=8)
    assert (found.rows, found.errors) == (40, 20)
    told = [json.loads(one) for one in (tmp_path / "out" / "errors.jsonl").read_text().splitlines()]
    assert [one["row"] for one in told] == list(range(20, 40))
    assert all("cannot be read" in one["reason"] for one in told)


def test_a_failure_of_the_machine_ends_the_run_and_leaves_the_shard_to_be_done(
    tmp_path, monkeypatch
):
    source = write(tmp_path / "in.jsonl", [record(number) for number in range(20)])
    real = token_credit
    calls = []

    def failing(*args, **more):
        calls.append(args)
        if len(calls) == 2:
            raise RuntimeError("device-side assert")
        return real(*args, **more)

    monkeypatch.setattr("flowtracer.rollouts.worker.token_credit", failing)
    with pytest.raises(RuntimeError, match="device-side assert"):
        score_files(source, tmp_path / "out", SETTINGS, shard_rows=10)
    assert len(list((tmp_path / "out" / "parts").iterdir())) == 1
    found = score_files(source, tmp_path / "out", SETTINGS, shard_rows=10)
    assert (found.rows, found.errors) == (20, 0)


def test_a_row_that_alone_does_not_fit_into_memory_is_told(tmp_path, monkeypatch):
    records = [record(number) for number in range(6)]
    source = write(tmp_path / "in.jsonl", records)
    real = token_credit
    longest = max(len(one["response"]) for one in records)

    def short_of_memory(model, batch, credit):
        if len(batch.input_ids) > 1 or int(batch.attention_mask.sum()) > 45:
            raise torch.OutOfMemoryError("out of memory")
        return real(model, batch, credit)

    monkeypatch.setattr("flowtracer.rollouts.worker.token_credit", short_of_memory)
    found = score_files(source, tmp_path / "out", SETTINGS)
    told = [json.loads(one) for one in (tmp_path / "out" / "errors.jsonl").read_text().splitlines()]
    assert found.rows + found.errors == 6 and 0 < found.errors < 6
    assert all(one["reason"] == "out of memory" for one in told)
    assert all(len(records[one["row"]]["response"]) == longest for one in told)


def last_line(text):
    return [(0, len(text))]


def test_a_run_with_a_function_in_its_settings_goes_on(tmp_path):
    source = write(tmp_path / "in.jsonl", [record(0)])
    for _ in range(2):
        score_files(source, tmp_path / "out", ScoreSettings("embedded", Credit(answer=last_line)))
    name = json.loads((tmp_path / "out" / "score.json").read_text())["credit"]["answer"]
    assert name == "last_line"


DAMAGED = {
    "is not JSON": '{"prompt": "Make',
    "is not a JSON object": "[1, 2]\n",
    "has no prompt": {"response": GOOD},
    "has no response": {"prompt": PROMPT},
    "is not in a vocabulary": {"prompt_ids": [1, 2], "response_ids": [5, 10**6]},
    "is not a list of whole numbers": {"prompt_ids": "1 2", "response_ids": [5]},
    "empty prompt or response": {"prompt_ids": [1, 2], "response_ids": []},
    "more than --max-tokens": {"prompt_ids": [5] * 300, "response_ids": [6] * 300},
    "advantages for": record(0) | {"advantages": [1.0, 2.0]},
    "is not finite": {**record(0), "advantage": float("nan")},
    "tool_mask has": record(0) | {"tool_mask": [1]},
    "id is no text": '{"id": "\\ud83d", "prompt": "Make 33.", "response": "33"}',
    "answer is not a list of": record(0) | {"answer": [[5, 2]]},
    "the prompt must be": record(0) | {"prompt": [{"role": "user"}]},
}


def test_damaged_rows_are_told_and_every_good_one_is_scored(tmp_path):
    lines = [json.dumps(record(number)) + "\n" for number in range(60)]
    bad = {}
    for place, (reason, row) in enumerate(DAMAGED.items()):
        text = row if isinstance(row, str) else json.dumps(row)
        bad[4 * place] = reason
        lines.insert(4 * place, text.rstrip("\n") + "\n")
    source = tmp_path / "in.jsonl"
    source.write_bytes("".join(lines).encode() + b'{"prompt": "\xff"}\n')
    bad[len(lines)] = "is not UTF-8 text"
    command = [sys.executable, "-m", "flowtracer", "score", str(source), "--out", "out"]
    ended = subprocess.run(
        [*command, "--max-tokens", "400", "--shard-rows", "10"],
        cwd=tmp_path, capture_output=True, text=True, env=ENVIRONMENT,
    )  # fmt: skip
    assert ended.returncode == 3 and f"{len(bad)} rows could not be scored" in ended.stderr
    told = [
        json.loads(line) for line in (tmp_path / "out" / "errors.jsonl").read_text().splitlines()
    ]
    assert [one["row"] for one in told] == sorted(bad)
    for one in told:
        assert bad[one["row"]] in one["reason"] and one["file"] == "in.jsonl"
    rows = table(tmp_path / "out")
    assert len(rows) == 60 and not {one["row"] for one in rows} & set(bad)
    assert json.loads((tmp_path / "out" / "manifest.json").read_text())["errors"] == len(bad)


ENVIRONMENT = os.environ | {"OMP_NUM_THREADS": "1"}


def long_record(number):
    """A rollout of about 300 tokens."""
    draw = random.Random(number)
    tried = "".join(
        f"18 {draw.choice('+-')} 7 = {draw.choice(('25', '11'))}, 11 + 3 = 14, not 33.\n"
        for _ in range(draw.randint(14, 18))
    )
    return record(3 * number) | {"response": tried + record(0)["response"]}


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


def test_workers_of_ray_give_the_same_rows(scored, tmp_path):
    pytest.importorskip("ray", reason="needs the extra flowtracer[ray]")
    source, out = scored
    words = ["score", str(source), "--out", "out", "--max-tokens", "400", "--batch-tokens", "2000"]
    ended = subprocess.run(
        [sys.executable, "-m", "flowtracer", *words, "--shard-rows", "7", "--engine", "ray",
         "--workers", "2"],
        cwd=tmp_path, capture_output=True, text=True, env=ENVIRONMENT,
    )  # fmt: skip
    assert ended.returncode == 0, ended.stderr
    for one, other in zip(table(out), table(tmp_path / "out"), strict=True):
        scores = torch.tensor(one.pop("score")), torch.tensor(other.pop("score"))
        torch.testing.assert_close(*scores, rtol=1e-3, atol=1e-6)
        assert one == other
