"""Columns of a part, compared with rows that are put together one by one."""

import pytest
import torch

pytest.importorskip("pyarrow.parquet", reason="needs the extra flowtracer[score]")

from helpers.rollouts import record

from flowtracer.credit import Credit, apply_credit, score_batch, token_credit
from flowtracer.rollouts.columns import columns
from flowtracer.rollouts.rollout import Limits, PromptReader, read_rollout
from flowtracer.rollouts.windows import Reading, make_batch

LIMITS = Limits(225, 400)


@pytest.fixture(scope="module")
def rollouts(embedded):
    records = [record(number) for number in range(6)]
    del records[1]["advantage"], records[4]["advantage"], records[2]["id"]
    records[3]["prompt"] = "Make 33 from 3, 7 and from 18, with each of them once."
    first = read_rollout(embedded.tokenizer, records[0], 0, limits=LIMITS)
    ids = {"prompt_ids": list(first.prompt_ids), "response_ids": list(first.response_ids)}
    tool = [number % 5 < 3 for number in range(len(first.response_ids))]
    records += [ids | {"tool_mask": tool}, ids | {"advantages": [0.5] * len(tool)}]
    records.append(records[0] | {"answer": [[3, 8, 0.5], [10, 12]]})
    return [
        read_rollout(embedded.tokenizer, fields, row, limits=LIMITS)
        for row, fields in enumerate(records)
    ]


def slow_row(loaded, rollout):
    """Of a rollout alone, without padding."""
    prompt, response = torch.tensor([rollout.prompt_ids]), torch.tensor([rollout.response_ids])
    batch = score_batch(
        loaded.tokenizer,
        prompt_ids=prompt,
        prompt_mask=torch.ones_like(prompt),
        completion_ids=response,
        completion_mask=torch.ones_like(response),
        tool_mask=torch.tensor([rollout.response_mask]),
    )
    if rollout.answer is not None:
        answer = torch.tensor(rollout.answer) * torch.tensor(rollout.response_mask)
        batch.answer[0, prompt.shape[1] :] = answer
    credit = token_credit(loaded.model, batch, Credit())
    advantages = None
    if rollout.advantages is not None:
        at = slice(prompt.shape[1], None)
        raw = torch.tensor([rollout.advantages])
        advantages = apply_credit(raw, credit.weights[:, at], batch.candidates[:, at])[0].tolist()
    return {
        "row": rollout.row,
        "id": rollout.id,
        "prompt_tokens": prompt.shape[1],
        "token_ids": [*rollout.prompt_ids, *rollout.response_ids],
        "candidate": batch.candidates[0].tolist(),
        "answer": batch.answer[0].tolist(),
        "score": pytest.approx(credit.scores[0].tolist(), rel=1e-3, abs=1e-6),
        "weight": credit.weights[0].tolist(),
        "answered": bool(credit.answered[0]),
        "scored": bool(credit.scored[0]),
        "advantages": advantages,
    }


def test_columns_hold_the_rows_of_each_rollout_alone(rollouts, embedded):
    reading = Reading(embedded.tokenizer, Credit(), LIMITS, 2000, None, None)
    batch = make_batch(rollouts, reading)
    credit = token_credit(embedded.model, batch, Credit())
    rows = columns(rollouts, batch, credit).to_pylist()
    assert rows == [slow_row(embedded, rollout) for rollout in rollouts]
    assert [row["advantages"] is None for row in rows] == [
        number in (1, 4, 6) for number in range(9)
    ]


def test_a_prompt_that_was_kept_is_the_prompt_read_anew(embedded):
    kept = PromptReader(embedded.tokenizer, LIMITS)
    prompts = [f"Make {number} from 3, 7, 18." for number in range(40)]
    prompts += [[{"role": "user", "content": text}] for text in prompts[:5]]
    for prompt in [*prompts, *prompts[::-1], *prompts]:
        assert kept.ids(prompt) == PromptReader(embedded.tokenizer, LIMITS).ids(prompt)
