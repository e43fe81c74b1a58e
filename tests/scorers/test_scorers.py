"""Every scorer against a slow, obvious reference, and what all of them have in common."""

from dataclasses import replace

import pytest
import torch
from helpers.models import ARCHITECTURES, SIZE, eager_attentions, random_model, texts
from transformers import AutoModel, AutoModelForCausalLM, LlamaConfig

from flowtracer import AttentionCaptureError
from flowtracer.attention import mean_attention
from flowtracer.scorers import SCORERS, ScoreOptions, forward, score_tokens
from flowtracer.scorers.batch import ScoreBatch

PROMPT = 6
CLOSE = {"rtol": 2e-3, "atol": 2e-5}


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    """Threads only wait for each other at this size."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def batch_of(ids, mask=None):
    """Prompt, response and a weighted answer in it; positions count from each row's first token."""
    mask = torch.ones_like(ids) if mask is None else mask
    place = mask.cumsum(1) - 1
    real = mask > 0
    answer = torch.where(real & (place >= 10) & (place < 13), 1.0, 0.0)
    answer = torch.where(real & (place == 13), 0.5, answer)
    return ScoreBatch(
        input_ids=ids,
        attention_mask=mask,
        question=real & (place < PROMPT),
        candidates=real & (place >= PROMPT),
        answer=answer,
        structural=ids % 3 == 0,
    )


def padded(batch, left, right, filler=5):
    """The same rows with padding, whose tokens claim nothing."""
    moved = {
        name: torch.nn.functional.pad(getattr(batch, name), (left, right))
        for name in ("attention_mask", "question", "candidates", "answer", "structural")
    }
    ids = torch.nn.functional.pad(batch.input_ids, (left, right), value=filler)
    return ScoreBatch(input_ids=ids, **moved)


def long_batch():
    """Rows of 40 tokens: long enough for attention that looks 10 and more tokens ahead."""
    ids = torch.randint(3, 97, (3, 40), generator=torch.Generator().manual_seed(4))
    return batch_of(ids)


def alone(batch, row):
    return batch.take(torch.tensor([row]))


def logits_of(model, ids):
    with torch.no_grad():
        return model(input_ids=ids[None]).logits[0].float()


@pytest.fixture(scope="module")
def model():
    return random_model("qwen3")


@pytest.mark.parametrize("name", ["qwen3", "gemma2", "gpt-oss"])
def test_entropy(name, monkeypatch):
    monkeypatch.setattr(forward, "SLICE_NUMBERS", 97 * 7)  # several slices, the last one short
    model = random_model(name)
    ids, mask = texts("both")
    batch = batch_of(ids, mask)
    found = score_tokens(model, batch, ["entropy"])["entropy"]
    for row in range(3):
        real = mask[row] > 0
        logs = logits_of(model, ids[row, real]).log_softmax(-1)
        expected = -(logs.exp() * logs).sum(-1)[:-1]
        got = found[row, real][1:]
        wanted = batch.candidates[row, real][1:]
        torch.testing.assert_close(got[wanted], expected[wanted], **CLOSE)
        assert float(found[row, ~batch.candidates[row]].abs().sum()) == 0


def test_the_own_head_runs():
    """Guards the test above: without its cap, Gemma 2 has other logits."""
    model = random_model("gemma2")
    states = 40 * torch.randn(5, 64)
    with torch.no_grad():
        capped = forward.apply_head(model, states)
        plain = model.lm_head(states)
    torch.testing.assert_close(capped, 30 * (plain / 30).tanh())
    assert float(plain.abs().max()) > 30


@pytest.mark.parametrize("name", ["qwen3", "gemma2", "gemma3", "gpt-oss"])
def test_gradients(name, monkeypatch):
    monkeypatch.setattr(forward, "SLICE_NUMBERS", 97 * 3)
    model = random_model(name)
    ids, mask = texts("both")
    batch = batch_of(ids, mask)
    with torch.no_grad():
        found = score_tokens(model, batch, ["gradient", "gradient_input"])
    for row in range(3):
        real = mask[row] > 0
        tokens, weights = ids[row, real], batch.answer[row, real]
        embedded = model.get_input_embeddings()(tokens[None]).detach().requires_grad_()
        logs = model(inputs_embeds=embedded).logits[0].log_softmax(-1)
        total = sum(
            weights[place] * logs[place - 1, tokens[place]] for place in range(1, len(tokens))
        )
        (gradient,) = torch.autograd.grad(total, embedded)
        norm, product = gradient[0].norm(dim=1), (gradient * embedded)[0].sum(1).abs()
        assert float(norm.max()) > 0
        scale = {"rtol": 5e-3, "atol": 1e-4 * float(norm.max())}
        torch.testing.assert_close(found["gradient"][row, real], norm, **scale)
        torch.testing.assert_close(found["gradient_input"][row, real], product.detach(), **scale)
        assert float(found["gradient"][row, ~real].abs().sum()) == 0


def test_correlation(model):
    ids, mask = texts("both")
    batch = batch_of(ids, mask)
    found = score_tokens(model, batch, ["correlation"])["correlation"]
    for row in range(3):
        real = mask[row] > 0
        with torch.no_grad():
            kept = model(input_ids=ids[row, real][None], output_hidden_states=True).hidden_states
        states = kept[6 // 2 + 1][0]  # the first is the embedding
        inside = batch.candidates[row, real].nonzero()[:, 0].tolist()
        got = found[row, real]
        for t in inside:
            others = [
                abs(float(torch.cosine_similarity(states[t], states[s], dim=0)))
                for s in inside
                if s != t
            ]
            assert float(got[t]) == pytest.approx(sum(others) / len(others), rel=1e-3)


@pytest.mark.parametrize("name", ["qwen3", "gemma2"])
def test_aligned(name):
    model = random_model(name)
    ids, mask = texts("both")
    batch = batch_of(ids, mask)
    found = score_tokens(model, batch, ["aligned"])["aligned"]
    for row in range(3):
        real, inside = mask[row] > 0, batch.candidates[row]
        with torch.no_grad():
            states = model.model(input_ids=ids[row, real][None]).last_hidden_state[0]
            mean = states[batch.candidates[row, real]].mean(0)
            logits = model.lm_head(mean)
            if name == "gemma2":
                logits = 30 * (logits / 30).tanh()
        own = logits[ids[row, inside]]
        torch.testing.assert_close(found[row, inside], own - own.min(), **CLOSE)
        assert 0 < float(found[row, inside].min()) < 1e-6


def test_scores_from_averaged_attention(model):
    ids, mask = texts("both")
    batch = batch_of(ids, mask)
    names = ["attention_max", "answer_attention", "rollout"]
    found = score_tokens(model, batch, names, options=ScoreOptions(layers=(1, 4)))
    for row in range(3):
        real = mask[row] > 0
        kept = eager_attentions(model, ids[row, real])
        mean = torch.stack([kept[1], kept[4]]).mean((0, 1))
        inside, answer = batch.candidates[row, real], batch.answer[row, real]
        length = int(real.sum())
        expected = {name: torch.zeros(length) for name in names}
        for t in range(length):
            later = [float(mean[k, t]) for k in range(t + 1, length) if inside[k]]
            expected["attention_max"][t] = max(later, default=0.0)
            looks = [float(answer[k] * mean[k, t]) for k in range(length)]
            expected["answer_attention"][t] = sum(looks) / float(answer.sum())
        step = 0.5 * mean.tril(-1) + 0.5 * torch.eye(length)
        expected["rollout"] = answer / answer.sum() @ step @ step
        for name in names:
            torch.testing.assert_close(found[name][row, real], expected[name], **CLOSE)


def test_attention_is_that_of_mean_attention_and_long_rows_are_blocked(model, monkeypatch):
    from flowtracer.scorers import attention as attention_scorers
    from flowtracer.scorers import evidence, hidden_states

    batch = long_batch()
    needs = frozenset({"attention", "heads"})
    gathered = evidence.gather_evidence(model, batch, needs, ScoreOptions(layers="early"))
    expected = mean_attention(model, batch.input_ids, batch.attention_mask, layers="early")
    assert torch.equal(gathered.attention, expected)
    assert gathered.layers == (0, 1)
    names = ["attention_max", "rollout", "correlation"]
    whole = score_tokens(model, batch, names)
    monkeypatch.setattr(attention_scorers, "BLOCK", 7)
    monkeypatch.setattr(hidden_states, "BLOCK", 7)
    for name, parts in score_tokens(model, batch, names).items():
        torch.testing.assert_close(parts, whole[name])


def test_controls(model):
    ids, mask = texts("both")
    batch = batch_of(ids, mask)
    found = score_tokens(model, batch, ["random", "position", "delimiters"])
    for row in range(3):
        inside = batch.candidates[row]
        count = int(inside.sum())
        assert found["position"][row, inside].tolist() == list(range(1, count + 1))
        expected = [float(token % 3 == 0) for token in ids[row, inside].tolist()]
        assert found["delimiters"][row, inside].tolist() == expected
        drawn = found["random"][row, mask[row] > 0]
        assert float(drawn.min()) > 0 and float(drawn.max()) <= 1
        assert len(set(drawn.tolist())) == len(drawn)
    again = score_tokens(model, batch, ["random"])["random"]
    other = score_tokens(model, batch, ["random"], options=ScoreOptions(seed=1))["random"]
    assert torch.equal(again, found["random"])
    assert not torch.equal(other, again)


def test_random_scores_are_spread_over_the_interval(model):
    ids = torch.randint(3, 97, (8, 500), generator=torch.Generator().manual_seed(0))
    drawn = score_tokens(model, batch_of(ids), ["random"])["random"]
    assert abs(float(drawn.mean()) - 0.5) < 0.02
    assert abs(float(drawn.var()) - 1 / 12) < 0.005


def test_delimiters_have_to_be_known(model):
    batch = replace(batch_of(texts("none")[0]), structural=None)
    with pytest.raises(ValueError, match="'delimiters' needs to know"):
        score_tokens(model, batch, ["delimiters"])
    assert batch.take(torch.tensor([0])).structural is None


@pytest.mark.parametrize("name", SCORERS)
def test_padding_and_batch_mates_change_nothing(name, model):
    batch = long_batch()
    together = score_tokens(model, batch, [name])[name]
    assert together.shape == batch.input_ids.shape and together.is_floating_point()
    assert float(together.sum()) > 0
    for row in range(3):
        single = alone(batch, row)
        for left, right in ((0, 0), (9, 0), (0, 9), (4, 5)):
            mate = torch.randint(3, 97, (1, 40 + left + right))
            rows = _stack(padded(single, left, right), batch_of(mate))
            got = score_tokens(model, rows, [name])[name][0]
            inside = rows.candidates[0]
            expected = together[row, batch.candidates[row]]
            slack = 1e-4 * float(expected.max())
            torch.testing.assert_close(got[inside], expected, rtol=2e-3, atol=slack)


def _stack(one, other):
    return ScoreBatch(
        **{
            name: torch.cat([getattr(one, name), getattr(other, name)])
            for name in ScoreBatch.__dataclass_fields__
            if getattr(one, name) is not None
        }
    )


@pytest.mark.parametrize("name", [name for name in SCORERS if not SCORERS[name].after_answer])
def test_what_follows_the_answer_neither_scores_nor_matters(name, model):
    batch = long_batch()
    whole = score_tokens(model, batch, [name])[name]
    cut = score_tokens(model, batch.take(torch.arange(3), slice(0, 14)), [name])[name]
    slack = 1e-4 * float(whole.max())
    torch.testing.assert_close(cut, whole[:, :14], rtol=2e-3, atol=slack)
    assert float(whole[:, 14:].abs().sum()) == 0


@pytest.mark.parametrize("name", [name for name in SCORERS if SCORERS[name].after_answer])
def test_what_follows_the_answer_is_needed(name, model):
    batch = long_batch()
    assert float(score_tokens(model, batch, [name])[name][:, 14:].sum()) > 0


def odd_rows():
    """Answer first of all, answer first in the response, one token, no answer, no response, one real."""
    batch = batch_of(texts("none")[0][:1].expand(6, -1).contiguous())
    answer, candidates = batch.answer.clone(), batch.candidates.clone()
    mask, question = batch.attention_mask.clone(), batch.question.clone()
    answer[:2] = 0
    answer[0, 0] = answer[1, PROMPT] = 1
    candidates[2] = False
    candidates[2, 12] = True
    answer[3] = 0
    candidates[4] = False
    mask[5, :-1] = 0
    question[5], candidates[5], answer[5] = False, mask[5] > 0, mask[5].float()
    return ScoreBatch(batch.input_ids, mask, question, candidates, answer, batch.structural)


@pytest.mark.parametrize("architecture", ["qwen3", "gemma2", "gpt-oss"])
def test_odd_rows_are_finite_and_not_negative(architecture):
    batch = odd_rows()
    scores = score_tokens(random_model(architecture), batch, list(SCORERS))
    for name, found in scores.items():
        assert found.shape == batch.input_ids.shape, name
        assert bool(found.isfinite().all() & (found >= 0).all()), name


def test_a_broken_model_gives_finite_scores():
    model = random_model("llama")
    with torch.no_grad():
        model.model.embed_tokens.weight[7] = torch.nan
    batch = batch_of(texts("none")[0])
    batch.input_ids[0, 8] = 7
    sound = batch.take(torch.arange(1, 3))
    expected = score_tokens(model, sound, list(SCORERS))
    for name, found in score_tokens(model, batch, list(SCORERS)).items():
        assert bool(found.isfinite().all() & (found >= 0).all()), name
        slack = 1e-4 * float(expected[name].max())
        torch.testing.assert_close(found[1:], expected[name], rtol=2e-3, atol=slack)


@pytest.mark.parametrize("mode", [torch.no_grad, torch.enable_grad])
def test_the_model_is_what_it_was_afterwards(mode):
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(LlamaConfig(**SIZE, attention_dropout=0.5)).train()
    model.gradient_checkpointing_enable()
    model.model.layers[2].eval()
    model.model.layers[1].mlp.up_proj.weight.requires_grad_(False)
    batch = long_batch()
    model(input_ids=batch.input_ids, labels=batch.input_ids).loss.backward()
    before = snapshot(model)
    with mode():
        first = score_tokens(model, batch, list(SCORERS))
        second = score_tokens(model, batch, list(SCORERS))
        assert torch.is_grad_enabled() == (mode is torch.enable_grad)
    for name, found in first.items():
        assert torch.equal(found, second[name]), name  # dropout took no part
        assert not found.requires_grad, name
    for now, then in zip(snapshot(model), before, strict=True):
        assert now == then
    assert "forward" not in model.model.__dict__


def snapshot(model):
    gradients = [one.grad for one in model.parameters()]
    return (
        [module.training for module in model.modules()],
        [one.requires_grad for one in model.parameters()],
        [None if one is None else (id(one), float(one.double().sum())) for one in gradients],
        [len(module._forward_pre_hooks) + len(module._forward_hooks) for module in model.modules()],
        model.config._attn_implementation,
    )


def test_the_model_is_what_it_was_after_an_exception():
    model = random_model("llama").train()
    batch = batch_of(texts("none")[0] + 10_000)
    before = snapshot(model)
    for name in SCORERS:
        if SCORERS[name].needs:
            with pytest.raises(IndexError):
                score_tokens(model, batch, [name])
            assert snapshot(model) == before
    assert torch.is_grad_enabled()


@pytest.mark.parametrize(
    ("names", "first", "last"),
    [
        (["position", "random", "delimiters"], 0, 0),
        (["flow"], 1, 0),
        (["flow", "attention_max", "answer_attention", "rollout"], 1, 0),
        (["waad", "fai", "rhythm"], 1, 0),
        (["flow", "rhythm"], 1, 0),
        (["correlation"], 1, 0),
        (["correlation", "aligned", "entropy"], 1, 1),
        (["gradient", "gradient_input"], 1, 1),
        (list(SCORERS), 3, 2),
    ],
)
def test_forward_passes_are_shared_and_cut_short(names, first, last):
    model = random_model("qwen2")
    runs = {0: 0, 5: 0}
    for number in runs:

        def count(*args, number=number):
            runs[number] += 1

        model.model.layers[number].register_forward_hook(count)
    score_tokens(model, long_batch(), names)
    assert runs == {0: first, 5: last}


def test_all_scorers_together_are_each_alone(model):
    batch = long_batch()
    together = score_tokens(model, batch, list(SCORERS))
    for name in SCORERS:
        torch.testing.assert_close(together[name], score_tokens(model, batch, [name])[name])


def test_peft_adapters_take_part():
    peft = pytest.importorskip("peft")
    batch = long_batch()
    asking = [name for name in SCORERS if SCORERS[name].needs]
    plain = score_tokens(random_model("llama"), batch, asking)
    config = peft.LoraConfig(target_modules=["q_proj", "up_proj"], init_lora_weights=False, r=4)
    adapted = peft.get_peft_model(random_model("llama"), config).train()
    before = [one.requires_grad for one in adapted.parameters()]
    found = score_tokens(adapted, batch, asking)
    assert [one.requires_grad for one in adapted.parameters()] == before
    merged = score_tokens(adapted.merge_and_unload(), batch, asking)
    for name in asking:
        slack = 1e-3 * float(merged[name].max())
        torch.testing.assert_close(found[name], merged[name], rtol=1e-2, atol=slack)
        assert not torch.allclose(found[name], plain[name], rtol=1e-3), name


def test_compiled_models_are_run_eagerly(model):
    batch = long_batch()
    compiled = torch.compile(model, backend="eager")
    expected = score_tokens(model, batch, list(SCORERS))
    for name, found in score_tokens(compiled, batch, list(SCORERS)).items():
        torch.testing.assert_close(found, expected[name])


def test_half_precision(model):
    half = random_model("qwen3").bfloat16()
    for name, found in score_tokens(half, long_batch(), list(SCORERS)).items():
        assert found.dtype == torch.float32, name
        assert bool(found.isfinite().all() & (found >= 0).all()), name


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_every_architecture_gives_every_score(name):
    short = name in ("mistral", "gemma3")  # their middle layers see 8 tokens, FAI begins at 10
    for scorer, found in score_tokens(random_model(name), long_batch(), list(SCORERS)).items():
        assert (float(found.sum()) > 0) != (short and scorer in ("fai", "rhythm")), scorer


def test_models_that_cannot_be_scored_are_named():
    batch = long_batch()
    headless = AutoModel.from_config(LlamaConfig(**SIZE))
    with pytest.raises(AttentionCaptureError, match="LlamaModel has no language-model head"):
        score_tokens(headless, batch, ["entropy"])
    assert float(score_tokens(headless, batch, ["correlation"])["correlation"].sum()) > 0
    sharded = random_model("llama")
    next(sharded.parameters()).ds_id = 0
    with pytest.raises(AttentionCaptureError, match="sharded by FSDP or ZeRO-3"):
        score_tokens(sharded, batch, ["gradient"])
    with pytest.raises(ValueError, match="scorer 'luck' is unknown; use one of flow, random"):
        score_tokens(sharded, batch, ["luck"])
