"""The advantages that slime's own function gets from the plug-in, and the loss that it makes of them."""

import copy

import pytest
import torch
from conftest import make_args
from helpers.plug_ins import TOOL, weights_alone

pytest.importorskip("slime", reason="slime is not installed; `make test-slime` fetches it")

from slime.backends.megatron_utils import loss as slime_loss
from slime.backends.megatron_utils.cp_utils import get_sum_of_sample_mean

from flowtracer.credit import Credit
from flowtracer.integrations import slime as plugin

pytestmark = pytest.mark.usefixtures("one_rank")
ESTIMATORS = ("grpo", "cispo", "ppo", "reinforce_plus_plus", "reinforce_plus_plus_baseline")


def plain(args, data):
    """slime without the plug-in."""
    changed = copy.copy(args)
    changed.custom_advantage_function_path = None
    return computed(changed, data)


def computed(args, data):
    data = copy.deepcopy(data)
    slime_loss.compute_advantages_and_returns(args, data)
    return data


def row_by_row(embedded, data, credit):
    """Every response alone: `token_credit` itself."""
    rows = zip(data["tokens"], data["loss_masks"], strict=True)
    return [weights_alone(embedded, tokens, mask, credit) for tokens, mask in rows]


@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_advantages_are_slimes_times_the_weights_of_token_credit(embedded, rollout_data, estimator):
    args = make_args(advantage_estimator=estimator, kl_coef=0.1)
    before, after = plain(args, rollout_data), computed(args, rollout_data)
    weights = row_by_row(embedded, rollout_data, Credit())
    for row in range(4):
        uniform = row == 1 or (row == 2 and estimator in plugin.GROUPED)  # no answer; no advantage
        expected = before["advantages"][row] * (1 if uniform else weights[row])
        torch.testing.assert_close(after["advantages"][row], expected, rtol=1e-6, atol=1e-6)
        assert torch.equal(after["returns"][row], before["returns"][row])
        assert torch.equal(after["kl"][row], before["kl"][row])
    assert bool((weights[0] == 1.5).any()) and bool((weights[3][TOOL] == 1).all())
    assert not torch.equal(after["advantages"][0], before["advantages"][0])


@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_emphasis_one_is_slime_bit_for_bit(rollout_data, estimator):
    settings = {"model": "a model that would not load", "emphasis": 1}
    args = make_args(advantage_estimator=estimator, kl_coef=0.1, flow_credit=settings)
    before, after = plain(args, rollout_data), computed(args, rollout_data)
    assert before.keys() == after.keys()
    for name in ("advantages", "returns", "kl"):
        assert all(map(torch.equal, before[name], after[name]))


def test_distillations_penalty_is_added_once_and_not_weighed(embedded, rollout_data):
    args = make_args(use_opd=True)
    before, after = plain(args, rollout_data), computed(args, rollout_data)
    weights = row_by_row(embedded, rollout_data, Credit())
    for row in (0, 2, 3):  # with the penalty every response learns something
        penalty = before["opd_reverse_kl"][row]
        assert torch.equal(after["opd_reverse_kl"][row], penalty)
        expected = rollout_data["rewards"][row] * weights[row] - penalty
        torch.testing.assert_close(after["advantages"][row], expected)


def test_whitened_advantages_are_weighed_after_all_else(embedded, rollout_data):
    args = make_args(
        custom_advantage_function_path=None,
        rollout_data_postprocess_path="flowtracer.integrations.slime.weigh_advantages",
        normalize_advantages=True,
        advantage_estimator="reinforce_plus_plus",
    )
    before = computed(args, rollout_data)
    after = copy.deepcopy(before)
    plugin.weigh_advantages(args, 0, after)
    weights = row_by_row(embedded, rollout_data, Credit())
    for row in (0, 2, 3):
        torch.testing.assert_close(
            after["advantages"][row], before["advantages"][row] * weights[row]
        )
    first_stage = {"tokens": rollout_data["tokens"]}  # of a pipeline: there are no advantages
    plugin.weigh_advantages(args, 0, first_stage)
    assert first_stage.keys() == {"tokens"}


def test_figures_are_lists_that_slime_logs(rollout_data):
    after = computed(make_args(), rollout_data)
    assert after["credit/not_weighted"] == [0, 1, 0, 0]
    assert 0.4 <= after["credit/selected"][0] < 0.45
    assert after["credit/mean_weight"][0] == pytest.approx(1 + 0.5 * after["credit/selected"][0])


@pytest.mark.filterwarnings("ignore:a response has weight 1")
def test_odd_responses_have_weight_one(rollout_data):
    """An id that the scorer does not have, an empty response, a response taken out of the loss."""
    rollout_data["tokens"][0][-3] = 10**6
    rollout_data["loss_masks"][3].zero_()
    for name in ("tokens", "loss_masks", "log_probs", "rollout_log_probs"):
        length = rollout_data["response_lengths"][2]
        rollout_data[name][2] = rollout_data[name][2][:-length]
    rollout_data["total_lengths"][2] -= rollout_data["response_lengths"][2]
    rollout_data["response_lengths"][2] = 0
    before = plain(make_args(), rollout_data)
    after = computed(make_args(), rollout_data)
    assert all(map(torch.equal, before["advantages"], after["advantages"]))
    assert after["credit/not_weighted"] == [1, 1, 0, 0]  # the last one is not in the loss


def losses(args, data, logits):
    """slime's policy loss of these advantages."""
    batch = {**data, "unconcat_tokens": data["tokens"]}
    reducer = get_sum_of_sample_mean(
        data["total_lengths"],
        data["response_lengths"],
        data["loss_masks"],
        data["rollout_mask_sums"],
        args.calculate_per_token_loss,
    )
    return slime_loss.policy_loss_function(args, batch, logits, reducer)[0]


def by_hand(args, data, logits, weights):
    """Equation 5: the clipped surrogate of each token times its weight, mean of each response, summed."""
    total, start = 0.0, 0
    for row, tokens in enumerate(data["tokens"]):
        length = data["response_lengths"][row]
        inside = logits[0, start : start + len(tokens)].log_softmax(-1)
        start += len(tokens)
        log_probs = inside[-length - 1 : -1].gather(1, tokens[-length:, None])[:, 0]
        ratio = (log_probs - data["log_probs"][row]).exp()
        clipped = ratio.clamp(1 - args.eps_clip, 1 + args.eps_clip_high)
        advantage, mask = data["rewards"][row], data["loss_masks"][row]
        surrogate = torch.minimum(ratio * advantage, clipped * advantage) * weights[row]
        total = total - (surrogate * mask).sum() / mask.sum()
    return total


def test_the_loss_is_the_one_computed_by_hand(embedded, rollout_data):
    args = make_args()
    length = sum(rollout_data["total_lengths"])
    logits = torch.randn(
        1, length, len(embedded.tokenizer), generator=torch.Generator().manual_seed(1)
    )
    logits.requires_grad_()
    weights = row_by_row(embedded, rollout_data, Credit())
    after = computed(args, rollout_data)
    theirs, ours = losses(args, after, logits), by_hand(args, rollout_data, logits, weights)
    torch.testing.assert_close(theirs, ours)
    gradients = [torch.autograd.grad(one, logits)[0] for one in (theirs, ours)]
    torch.testing.assert_close(*gradients)


@pytest.mark.parametrize(
    "changes",
    [{"advantage_estimator": one} for one in ESTIMATORS]
    + [
        {"use_opsm": True},
        {"calculate_per_token_loss": True},
    ],
)
def test_each_tokens_gradient_is_its_weight_times_slimes(embedded, rollout_data, changes):
    """Whatever the loss: a factor on a token's advantage is a factor on its loss."""
    args = make_args(**changes)
    size, length = len(embedded.tokenizer), sum(rollout_data["total_lengths"])
    logits = torch.randn(1, length, size, generator=torch.Generator().manual_seed(1)) / 4
    logits.requires_grad_()
    before, after = plain(args, rollout_data), computed(args, rollout_data)
    gradients = [
        torch.autograd.grad(losses(args, data, logits), logits)[0][0] for data in (before, after)
    ]
    weights = row_by_row(embedded, rollout_data, Credit())
    start = 0
    for row, total in enumerate(rollout_data["total_lengths"]):
        inside = slice(start + total - rollout_data["response_lengths"][row] - 1, start + total - 1)
        start += total
        if row in (0, 3):
            expected = gradients[0][inside] * weights[row][:, None]
            torch.testing.assert_close(gradients[1][inside], expected)
