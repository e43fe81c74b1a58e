"""Files that `show` opens: a run's, those of score, TRL's and prime-rl's; others get one sentence."""

import json

import pyarrow
import pyarrow.parquet as parquet
import pytest
from helpers.watched import watched_rollout

from flowtracer.watching.formats import read_rollouts
from flowtracer.watching.parts import write_part


def export(folder, step, rank=0, count=3, **changes):
    """A file as prime-rl 0.8 writes it."""
    path = folder / "token_exports" / f"step_{step}" / f"rank_{rank}.jsonl"
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = []
    for number in range(count):
        record = {
            "schema_version": 1, "step": step, "export_step": step, "rank": rank, "micro_step": 0,
            "micro_sequence_idx": number, "export_sequence_idx": number, "run_id": None, "env_name": "math",
            "token_ids": [1, 2, 3, 4], "position_ids": [0, 1, 2, 3],
            "loss_mask": [False, True, False, True], "advantages": [0.0, 0.5, 0.0, 0.5],
            "losses": [{}] * 4, "rewards": [1.0] * 4, "inference_logprobs": [0.0] * 4,
            "trainer_logprobs": [0.0] * 4, "entropy": [0.1, 0.2, None, 0.4],
            "mismatch_kl": [None] * 4, "env_names": None,
        } | changes  # fmt: skip
        lines.append(json.dumps(record) + "\n")
    path.write_text("".join(lines))
    return path


def completions(folder, step, **columns):
    path = folder / "completions" / f"completions_{step:05d}.parquet"
    path.parent.mkdir(parents=True, exist_ok=True)
    table = {
        "step": [step] * 2,
        "prompt": [[{"role": "user", "content": "how much?"}]] * 2,
        "completion": [[{"role": "assistant", "content": "it is 42"}]] * 2,
        "accuracy": [1.0, 0.0],
        "advantage": [0.7, -0.7],
    } | columns
    parquet.write_table(pyarrow.table(table), path)
    return path


@pytest.mark.parametrize("inside", ["", "rollouts", "rollouts/step-000002.parquet"])
def test_a_run_opens_as_folder_and_file(tmp_path, inside):
    for step in (2, 12):
        write_part(tmp_path, step, [watched_rollout(["a", "b"], step=step)])
    watched = read_rollouts(tmp_path / inside)
    assert [rollout.step for rollout in watched.rollouts] == (
        [2] if "parquet" in inside else [2, 12]
    )


def test_tables_of_completions_are_shown_by_word_or_by_token(tmp_path):
    completions(tmp_path, 9)
    completions(
        tmp_path, 10, credit_tokens=[["it", " is", " 42"]] * 2, credit_weights=[[1.0, 1.5, 1.0]] * 2
    )
    words = read_rollouts(tmp_path / "completions" / "completions_00009.parquet")
    assert words.rollouts[0].tokens == ["it", " is", " 42"] and words.rollouts[0].weights is None
    assert words.rollouts[1].advantages == [-0.7] * 3 and words.rollouts[1].reward == 0.0
    assert any("word by word" in note for note in words.notes)
    watched = read_rollouts(tmp_path)
    assert [rollout.step for rollout in watched.rollouts] == [9, 9, 10, 10]
    assert watched.rollouts[2].advantages == pytest.approx([0.7, 1.05, 0.7])
    assert watched.rollouts[2].prompt == "how much?"


def test_token_exports_of_prime_rl(tmp_path):
    for step in (2, 10):
        export(tmp_path, step)
    watched = read_rollouts(tmp_path, decode=lambda ids: [f"<{token}>" for token in ids])
    assert [rollout.step for rollout in watched.rollouts] == [2] * 3 + [10] * 3  # not 10 before 2
    first = watched.rollouts[0]
    assert first.prompt == "<1>" and first.tokens == ["<2>", "<3>", "<4>"]
    assert first.candidates == [True, False, True] and first.advantages == [0.5, 0.0, 0.5]
    assert first.reward == 1.0 and first.advantage == 0.5 and first.scores == [0.2, 0.0, 0.4]
    assert len(read_rollouts(tmp_path, rows=2).rollouts) == 2


def test_without_text_ids_are_shown_and_it_is_said(tmp_path):
    path = export(tmp_path, 1)
    watched = read_rollouts(path)
    assert watched.rollouts[0].tokens == ["2 ", "3 ", "4 "]
    assert any("--tokenizer" in note for note in watched.notes)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"schema_version": 7}, "schema_version is 7"),
        ({"advantages": [0.0]}, "advantages has another length"),
        ({"loss_mask": "yes"}, "loss_mask"),
    ],
)
def test_other_token_exports_are_named_with_their_line(tmp_path, changes, message):
    path = export(tmp_path, 1, **changes)
    with pytest.raises(ValueError, match="line 1.*" + message):
        read_rollouts(path)


def test_what_cannot_be_opened_gets_one_sentence_with_what_can(tmp_path):
    parquet.write_table(pyarrow.table({"x": [1]}), tmp_path / "x.parquet")
    (tmp_path / "x.jsonl").write_text('{"a": 1}\n')
    (tmp_path / "x.txt").write_text("hello")
    (tmp_path / "empty").mkdir()
    for name in ("x.parquet", "x.jsonl", "x.txt", "empty", "missing"):
        with pytest.raises(ValueError, match=r"show opens a trace\.json, ") as caught:
            read_rollouts(tmp_path / name)
        assert name in str(caught.value)


def test_a_damaged_part_of_a_run_is_left_out_and_it_is_said(tmp_path):
    paths = [write_part(tmp_path, n, [watched_rollout(["a"], step=n)]) for n in (1, 11, 21)]
    for path in paths[:2]:
        path.write_bytes(path.read_bytes()[:100])
    watched = read_rollouts(tmp_path)
    assert [rollout.step for rollout in watched.rollouts] == [21]
    assert "2 of 3 files are left out" in watched.notes[0] and "step-000001" in watched.notes[0]
    with pytest.raises(ValueError, match=r"step-000011.*no readable Parquet"):
        read_rollouts(paths[1])
    paths[2].write_bytes(b"")
    with pytest.raises(ValueError, match=r"step-000001.*no readable Parquet"):
        read_rollouts(tmp_path)


@pytest.mark.parametrize(
    ("column", "value", "message"),
    [
        ("tokens", [1, 2], "tokens holds"),
        ("tokens", [None, "b"], "tokens holds"),
        ("tokens", None, "tokens holds"),
        ("weight", [1.0], "weights has 1 entries for 2 tokens"),
        ("weight", ["a", "b"], "weights holds"),
        ("advantages", [None, 1.0], "advantages holds"),
        ("candidate", [True], "candidates has 1"),
        ("prompt", 3, "prompt is 3"),
        ("step", "x", "step is 'x'"),
        ("rewards", "x", "rewards is 'x'"),
    ],
)
def test_columns_with_other_values_are_named(tmp_path, column, value, message):
    path = write_part(tmp_path, 1, [watched_rollout(["a", "b"])])
    table = parquet.read_table(path)
    index = table.schema.get_field_index(column)
    changed = table.set_column(index, column, pyarrow.array([value]))
    parquet.write_table(changed.replace_schema_metadata(table.schema.metadata), path)
    with pytest.raises(ValueError, match=f"step-000001.*{message}"):
        read_rollouts(tmp_path)


@pytest.mark.parametrize(
    "columns",
    [
        {"advantage": ["x", "y"]},
        {"advantage": [[1.0], [2.0]]},
        {"credit_tokens": [[1]] * 2},
        {"credit_tokens": ["ab"] * 2, "credit_weights": [[1.0, 2.0]] * 2},
        {"credit_tokens": [["a"]] * 2, "credit_weights": [[None]] * 2},
    ],
)
def test_tables_of_completions_with_other_values_are_named(tmp_path, columns):
    with pytest.raises(ValueError, match="completions_00001"):
        read_rollouts(completions(tmp_path, 1, **columns))


def test_a_table_with_several_figures_has_no_reward_of_its_own(tmp_path):
    """What a reward function logs is a column like a reward, and weights of rewards are not in it."""
    path = completions(tmp_path, 3, length=[70, 80])
    watched = read_rollouts(path)
    assert watched.rollouts[0].reward is None
    assert watched.rollouts[0].rewards == {"accuracy": 1.0, "length": 70}
    assert "each figure is shown by itself" in watched.notes[0]


def test_a_damaged_table_among_others_is_named(tmp_path):
    completions(tmp_path, 1)
    (tmp_path / "completions" / "completions_00002.parquet").write_bytes(b"PAR1")
    with pytest.raises(ValueError, match=r"completions_00002.*no readable Parquet"):
        read_rollouts(tmp_path)


def test_a_line_that_prime_rl_is_writing_is_left_out(tmp_path):
    path = export(tmp_path, 1)
    path.write_text(path.read_text()[:-40])
    assert len(read_rollouts(path).rollouts) == 2
    export(tmp_path, 1, entropy=[], rewards=[])
    assert read_rollouts(path).rollouts[0].scores is None
    path.write_text("")
    with pytest.raises(ValueError, match=r"rank_0\.jsonl: is empty"):
        read_rollouts(path)


def test_steps_that_older_versions_of_trl_wrote_as_text_are_numbers(tmp_path):
    path = completions(tmp_path, 3)
    table = parquet.read_table(path)
    parquet.write_table(table.set_column(0, "step", pyarrow.array(["3", "3"])), path)
    assert [rollout.step for rollout in read_rollouts(path).rollouts] == [3, 3]
