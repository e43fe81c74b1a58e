"""Sequences with pictures as trainers keep them: padded, or packed without padding."""

import pytest
import torch

pytest.importorskip("PIL", reason="needs the extra flowtracer[vision]")
from helpers.processors import PROCESSORS, picture, small_model

from flowtracer.credit import Credit, sequence_credit
from flowtracer.models.pictures import model_inputs

RESPONSES = ("the answer is red", "is blue , is 3", "the square is green . 2")
PICTURES = ([picture(0)], [], [picture(1, 16, 16), picture(2, 16, 32)])


def last_word(text):
    word = text.split()[-1]
    return [(text.rindex(word), text.rindex(word) + len(word))]


def sequences(processor):
    """Ids, responses' masks and the processor's output of three conversations, padded on the left."""
    texts = [
        processor.apply_chat_template(
            [{"role": "user", "content": [*[{"type": "image"}] * len(images),
                                          {"type": "text", "text": "what colour is this ?"}]}],
            add_generation_prompt=True,
        )
        for images in PICTURES
    ]  # fmt: skip
    whole = [f"{text} {response}" for text, response in zip(texts, RESPONSES, strict=True)]
    by_row = type(processor).__name__.startswith("Gemma")  # which takes empty lists
    images = [images for images in PICTURES if images or by_row]
    made = processor(text=whole, images=images, padding=True, return_tensors="pt")
    tail = [len(processor.tokenizer(response).input_ids) for response in RESPONSES]
    width = made["input_ids"].shape[1]
    response = torch.stack([torch.arange(width) >= width - count for count in tail])
    return made, response


@pytest.mark.parametrize("name", PROCESSORS)
def test_packed_sequences_get_the_credit_of_padded_ones(name):
    model, processor = small_model(name), PROCESSORS[name]()
    made, response = sequences(processor)
    ids, mask = made["input_ids"], made["attention_mask"]
    credit = Credit(answer=last_word)
    padded = sequence_credit(
        model,
        processor.tokenizer,
        ids,
        response,
        credit=credit,
        attention_mask=mask,
        model_inputs=made,
    )
    assert padded.scored.all()
    real = mask > 0
    bounds = torch.cat([torch.zeros(1, dtype=torch.long), real.sum(1).cumsum(0)])
    packed = sequence_credit(
        model,
        processor.tokenizer,
        ids[real][None],
        response[real][None],
        credit=credit,
        cu_seq_lens=bounds,
        model_inputs=made,
    )
    torch.testing.assert_close(packed.weights[0], padded.weights[real])


@pytest.mark.parametrize("name", PROCESSORS)
def test_the_processors_own_output_is_all_that_is_needed(name):
    model, processor = small_model(name), PROCESSORS[name]()
    made, response = sequences(processor)
    made = {key: value for key, value in made.items() if not key.endswith("token_type_ids")}
    own = sequence_credit(
        model, processor.tokenizer, made["input_ids"], response, credit=Credit(answer=last_word),
        attention_mask=made["attention_mask"], model_inputs=made,
    )  # fmt: skip
    typed, _ = sequences(processor)
    full = sequence_credit(
        model, processor.tokenizer, made["input_ids"], response, credit=Credit(answer=last_word),
        attention_mask=made["attention_mask"], model_inputs=typed,
    )  # fmt: skip
    assert torch.equal(own.weights, full.weights)


@pytest.mark.parametrize("name", PROCESSORS)
def test_a_picture_token_that_the_policy_wrote_costs_its_own_row_alone(name):
    model, processor = small_model(name), PROCESSORS[name]()
    made, response = sequences(processor)
    inputs = model_inputs(model, made, made["input_ids"])
    arguments = {
        "credit": Credit(answer=last_word),
        "attention_mask": made["attention_mask"],
        "model_inputs": inputs,
    }
    ids = made["input_ids"].clone()
    before = sequence_credit(model, processor.tokenizer, ids, response, **arguments)
    ids[0, -3] = 7
    with pytest.warns(UserWarning, match="1 responses have tokens that stand for pictures"):
        after = sequence_credit(model, processor.tokenizer, ids, response, **arguments)
    assert after.scored.tolist() == [False, True, True]
    assert (after.weights[0] == 1).all()
    torch.testing.assert_close(after.weights[1:], before.weights[1:])
