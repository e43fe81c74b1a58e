"""Models that take pictures are run on texts under knockout, and refuse a text whose picture is missing."""

import pytest
import torch
from helpers.pictures import CONFIGS, picture_model, picture_rows

from flowtracer import AttentionCaptureError
from flowtracer.intervention import attention_knockout, prefill

NAMES = sorted(CONFIGS.keys() - {"qwen3_5"})  # a hybrid, refused whatever the text


@pytest.mark.parametrize("name", NAMES)
def test_a_text_is_run_as_by_the_model_of_text_alone(name):
    model = picture_model(name)
    ids, _, _ = picture_rows(name, padding="none")
    text = ids[1, :20].tolist()
    hidden = torch.zeros(2, 20, dtype=torch.bool)
    hidden[1, 5:8] = True
    with attention_knockout(model) as knockout:
        prefilled = prefill(model, knockout, text, hidden)
    with torch.no_grad():
        expected = model(input_ids=ids[1:2, :20]).logits[0, -1]
    torch.testing.assert_close(prefilled.logits[0], expected, atol=2e-4, rtol=1e-3)
    assert not torch.allclose(prefilled.logits[1], expected, atol=1e-2)


@pytest.mark.parametrize("name", NAMES)
def test_a_text_without_its_picture_is_refused(name):
    model = picture_model(name)
    ids, _, _ = picture_rows(name, padding="none")
    with (
        attention_knockout(model) as knockout,
        pytest.raises(AttentionCaptureError, match="stand for a picture"),
    ):
        prefill(model, knockout, ids[0].tolist(), torch.zeros(1, 32, dtype=torch.bool))
