"""How many operations credit launches; the number does not depend on sizes, only on layers and parts."""

import torch
from helpers.kernels import Counting, interpreted
from transformers import Qwen3Config, Qwen3ForCausalLM

from flowtracer.attention import select_layers
from flowtracer.attention.mean import MeanReader
from flowtracer.attention.observe import observe_layers
from flowtracer.flow import send_flow
from flowtracer.kernels.availability import kernels_everywhere

pytestmark = interpreted
ROWS, PARTS, LENGTH = 64, 16, 24  # parts of four rows, as of 8,192 tokens


def model_with_layers_of_qwen3_4b():
    config = Qwen3Config(
        vocab_size=32,
        hidden_size=16,
        intermediate_size=16,
        num_hidden_layers=36,
        num_attention_heads=2,
        num_key_value_heads=1,
        head_dim=8,
    )
    return Qwen3ForCausalLM(config).eval()


def test_credit_on_a_forward_that_runs_anyway_launches_little():
    model = model_with_layers_of_qwen3_4b()
    layers = select_layers("middle", 36)
    ids = torch.randint(0, 32, (ROWS // PARTS, LENGTH))
    position = torch.arange(LENGTH).expand(len(ids), -1)
    question, answer = position < 5, (position > 18).float()

    def launches(part):
        with kernels_everywhere(), Counting(skip_kernels=True) as counting, torch.no_grad():
            part()
        return counting.counts

    def plain():
        model(input_ids=ids)

    def ridden():
        reader = MeanReader(torch.ones_like(ids), layers)
        with observe_layers(model, layers, reader.read_layer):
            model(input_ids=ids)
        send_flow(reader.finish(), question, answer)

    counts = launches(ridden)
    assert counts.by_name["add_head_sum"] == counts.by_name["layer_logsumexp"] == len(layers)
    assert counts.by_name["solve_flow"] == 1
    # The goal at 8,192 tokens: 2,000 launches for 64 rows.
    assert PARTS * (counts.launches - launches(plain).launches) < 2000
    assert counts.questions <= 4
