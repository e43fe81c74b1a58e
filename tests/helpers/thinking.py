"""The embedded model with a template whose prompts end in an opened thought."""

import copy

from flowtracer.models import Loaded

OPENS = "<think>\n"


def thinking_model(loaded: Loaded) -> Loaded:
    """A copy whose vocabulary has the tags of a thought, as thinking models do."""
    model, tokenizer = copy.deepcopy(loaded.model), copy.deepcopy(loaded.tokenizer)
    tokenizer.add_tokens(["<think>", "</think>"])
    end = "{% if add_generation_prompt %}<|assistant|>"
    assert end in tokenizer.chat_template
    tokenizer.chat_template = tokenizer.chat_template.replace(end, end + OPENS)
    model.resize_token_embeddings(len(tokenizer), mean_resizing=False)
    return Loaded(model, tokenizer, "thinking")
