"""Traces as files, and what a trace says of itself."""

import itertools
import json
import math
import random
import threading

import pytest
import torch
from helpers.traces import HOSTILE, made_trace

from flowtracer import TraceFileError, load_trace, save_trace
from flowtracer.flow import find_hubs, select_backbone
from flowtracer.storage import atomic_write
from flowtracer.tracing.file import trace_from_json, trace_to_json


@pytest.fixture(scope="module")
def made():
    return made_trace(["user: ", *HOSTILE], ["so ", *HOSTILE, "\n", "42", "."], answer=-2)


def test_a_trace_comes_back_as_it_was(made, tmp_path):
    made.save(tmp_path / "t.json")
    assert load_trace(tmp_path / "t.json") == made
    assert [path.name for path in tmp_path.iterdir()] == ["t.json"]


@pytest.mark.parametrize(
    "content",
    [b"", b"{", b"null", b"[1]", b"\xff\x00\x01", b'{"schema": "other"}', b"[" * 100_000, b"NaN"],
)
def test_files_that_are_no_traces_are_refused(content, tmp_path):
    (tmp_path / "t.json").write_bytes(content)
    with pytest.raises(TraceFileError, match=r"t\.json"):
        load_trace(tmp_path / "t.json")


def test_a_missing_file_is_refused(tmp_path):
    with pytest.raises(TraceFileError, match=r"absent\.json: cannot be read"):
        load_trace(tmp_path / "absent.json")


def test_a_file_that_is_cut_off_is_refused_wherever_it_ends(made, tmp_path):
    save_trace(made, tmp_path / "t.json")
    whole = (tmp_path / "t.json").read_bytes()
    for length in (1, 20, len(whole) // 2, len(whole) - 1):
        (tmp_path / "t.json").write_bytes(whole[:length])
        with pytest.raises(TraceFileError, match=r"t\.json.*cut off"):
            load_trace(tmp_path / "t.json")


def test_another_schema_version_is_refused(made):
    with pytest.raises(TraceFileError, match="schema version 2, this flowtracer reads 1"):
        trace_from_json(trace_to_json(made) | {"version": 2})


@pytest.mark.parametrize(
    "change",
    [
        {"text": 7}, {"text": "short"}, {"ids": [1]}, {"ids": ["a"]}, {"ids": None}, {"roles": []},
        {"throughput": [math.nan]}, {"edges": [[0, 99_999, 0.1]]}, {"edges": [[0, 1]]}, {"hubs": [-1]},
        {"routes": [[[0, 10**9], 0.5]]}, {"provenance": {}}, {"provenance": 3}, {"offsets": [[0]]},
    ],
)  # fmt: skip
def test_damage_is_noticed(made, change):
    with pytest.raises(TraceFileError):
        trace_from_json(json.loads(json.dumps(trace_to_json(made))) | change)


@pytest.mark.parametrize("value", [math.nan, math.inf, "1", None, True])
def test_scores_that_are_no_finite_numbers_are_noticed(made, value):
    data = json.loads(json.dumps(trace_to_json(made)))
    data["inflow"][3] = value
    with pytest.raises(TraceFileError, match="not a finite number"):
        trace_from_json(data)


def test_every_part_is_needed(made):
    data = trace_to_json(made)
    for key in data:
        with pytest.raises(TraceFileError):
            trace_from_json({name: value for name, value in data.items() if name != key})


def test_a_write_that_fails_leaves_the_old_file(tmp_path):
    path = tmp_path / "t"
    path.write_text("old")
    with pytest.raises(RuntimeError), atomic_write(path) as partial:
        partial.write_text("half")
        raise RuntimeError
    assert path.read_text() == "old"
    assert [one.name for one in tmp_path.iterdir()] == ["t"]


def test_two_writers_at_once_leave_one_whole_file(made, tmp_path):
    path = tmp_path / "t.json"
    threads = [threading.Thread(target=made.save, args=(path,)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert load_trace(path) == made
    assert [one.name for one in tmp_path.iterdir()] == ["t.json"]


def test_tokens_that_share_a_character_are_shown_as_one():
    made = made_trace(["q"], ["a", "🙂", "9"], answer=-1)
    split = trace_to_json(made) | {
        "text": "qa🙂9",
        "ids": [0, 1, 2, 3, 4, 5],
        "offsets": [(0, 1), (1, 2), (2, 3), (2, 3), (2, 3), (3, 4)],
        "roles": ["user", "response", "response", "response", "response", "answer"],
        "edges": [], "routes": [], "hubs": [],
    }  # fmt: skip
    for name in ("answer_weights", "potential", "inflow", "throughput"):
        split[name] = [0.0] * 6
    units = trace_from_json(split).units
    assert [(unit.first, unit.last, unit.text) for unit in units] == [
        (0, 0, "q"), (1, 1, "a"), (2, 4, "🙂"), (5, 5, "9"),
    ]  # fmt: skip


def test_the_backbone_is_the_top_of_the_response_only(made):
    start = made.response_start
    count = len(made.ids) - start
    best = sorted(range(start, len(made.ids)), key=lambda i: (-made.throughput[i], i))
    chosen = [i for i in best[: math.ceil(0.4 * count)] if made.throughput[i] > 0]
    assert made.backbone() == tuple(sorted(chosen))


def test_backbone_against_a_slow_reference():
    generator = random.Random(0)
    for _ in range(200):
        length = generator.randint(1, 30)
        values = [generator.choice([0.0, 0.1, 0.2, generator.random()]) for _ in range(length)]
        candidates = [generator.random() < 0.8 for _ in range(length)]
        ratio = generator.choice([0.1, 0.2, 0.4, 0.6, 1.0])
        order = sorted((i for i in range(length) if candidates[i]), key=lambda i: (-values[i], i))
        wanted = -(-round(ratio * 10) * len(order) // 10)  # ceil without rounding errors
        slow = {i for i in order[:wanted] if values[i] > 0}
        fast = select_backbone(torch.tensor([values]), torch.tensor([candidates]), ratio=ratio)
        assert {i for i, one in enumerate(fast[0].tolist()) if one} == slow
    with pytest.raises(ValueError, match="ratio is 0"):
        select_backbone(torch.ones(1, 3), torch.ones(1, 3).bool(), ratio=0)


def test_hubs_against_a_slow_reference():
    generator = random.Random(1)
    for _ in range(200):
        length = generator.randint(0, 40)
        values = [generator.choice([0.1, 0.5, generator.random()]) for _ in range(length)]
        response = [i >= length // 3 for i in range(length)]
        radius = generator.randint(0, 3)
        places = [i for i in range(length) if response[i]]
        ranked = sorted(values[i] for i in places)
        slow = [
            i
            for i in places
            if values[i] > ranked[(len(places) - 1) // 2]
            and all(values[j] < values[i] for j in places if i - radius <= j < i)
            and all(values[j] <= values[i] for j in places if i < j <= i + radius)
        ]
        hubs = find_hubs(
            torch.tensor(values), torch.tensor(response, dtype=torch.bool), radius=radius
        )
        assert list(hubs.tokens) == slow
        assert list(hubs.spacing) == [b - a for a, b in itertools.pairwise(slow)]
    assert find_hubs(torch.zeros(0), torch.zeros(0).bool()).median_spacing is None
