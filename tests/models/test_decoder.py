"""Models that take more than text are refused by name, whoever would read them."""

from types import SimpleNamespace

import pytest
from helpers.models import SIZE, random_model, texts
from helpers.scores import batch_of
from transformers import (
    GemmaConfig,
    PaliGemmaConfig,
    PaliGemmaForConditionalGeneration,
    Qwen2AudioConfig,
    Qwen2AudioEncoderConfig,
    Qwen2AudioForConditionalGeneration,
    Qwen2Config,
    SiglipVisionConfig,
)

from flowtracer import AttentionCaptureError, mean_attention, trace
from flowtracer.attention import tiled_attention
from flowtracer.credit import Credit, token_credit
from flowtracer.intervention import attention_knockout
from flowtracer.models.decoder import find_decoder
from flowtracer.scorers import score_tokens

SMALL = {
    "hidden_size": 32,
    "intermediate_size": 32,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
}


def takes_images():
    """A model whose prompt attends in both directions, which is not read."""
    return PaliGemmaForConditionalGeneration(
        PaliGemmaConfig(
            vision_config=SiglipVisionConfig(**SMALL, image_size=16, patch_size=8).to_dict(),
            text_config=GemmaConfig(**SIZE, head_dim=16).to_dict(),
            image_token_id=5,
        )
    )


def takes_audio():
    audio = Qwen2AudioEncoderConfig(
        d_model=32, encoder_layers=1, encoder_attention_heads=2, encoder_ffn_dim=32
    )
    return Qwen2AudioForConditionalGeneration(
        Qwen2AudioConfig(audio_config=audio, text_config=Qwen2Config(**SIZE), audio_token_id=5)
    )


def score(name):
    return lambda model: score_tokens(model, batch_of(*texts("none")), [name])


def knock_out(model):
    with attention_knockout(model):
        pass


READERS = {
    "dense": lambda model: mean_attention(model, texts("none")[0]),
    "tiles": lambda model: tiled_attention(model, texts("none")[0]),
    "knockout": knock_out,
    "credit": lambda model: token_credit(model, batch_of(*texts("none")), Credit()),
    **{name: score(name) for name in ("flow", "entropy", "correlation", "gradient", "rhythm")},
}


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize("make", [takes_images, takes_audio])
def test_models_that_take_more_than_text_are_refused_by_name(make, reader):
    model = make()
    with pytest.raises(
        AttentionCaptureError, match=f"{type(model).__name__} takes images, video or"
    ):
        READERS[reader](model)


def test_their_model_of_text_is_read_as_any_other():
    decoder = takes_audio().get_decoder()
    assert mean_attention(decoder, texts("none")[0]).shape == (3, 24, 24)


def test_a_wrapped_one_is_refused_too():
    peft = pytest.importorskip("peft")
    config = peft.LoraConfig(target_modules=["q_proj"], r=4)
    adapted = peft.get_peft_model(takes_images(), config)
    with pytest.raises(
        AttentionCaptureError, match="PaliGemmaForConditionalGeneration takes images"
    ):
        find_decoder(adapted)


def test_a_trace_refuses_it_before_it_answers(embedded):
    with pytest.raises(AttentionCaptureError, match="takes images, video or audio"):
        trace(takes_images(), embedded.tokenizer, "Make 33 from 3, 7, 18.")


def test_a_trainer_refuses_it_before_it_trains():
    trl = pytest.importorskip("flowtracer.integrations.trl")
    model = takes_images()
    trainer = SimpleNamespace(
        args=SimpleNamespace(),
        credit=Credit(),
        model=model,
        accelerator=SimpleNamespace(unwrap_model=lambda model: model),
    )
    with pytest.raises(AttentionCaptureError, match="takes images, video or audio"):
        trl.check_settings(trainer)


def test_a_model_of_text_is_not_refused():
    assert find_decoder(random_model("gemma3")) is not None
