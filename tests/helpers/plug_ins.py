"""Responses on which the plug-ins of other trainers are tried, and the weights that they have to give."""

import torch

from flowtracer.credit import score_batch, token_credit
from helpers.responses import GOOD, NO_BOX

PROMPTS = ("Make 33 from 3, 7, 18.", "Make 21 from 7, 5, 8, 1.")  # with two responses each
RESPONSES = (
    GOOD,
    NO_BOX,
    "8 * 7 = 56, 56 - 5 = 51, not 21.\n7 * 1 = 7.\n\\boxed{(8 - 5) * 7}<|end|>",
    "8 - 5 = 3, 3 * 7 = 21, yes.\n\\boxed{(8 - 5) * 7}<|end|>",
)
TOOL = slice(3, 9)  # tokens of the last response that a tool wrote


def sequence_ids(tokenizer):
    """Token ids of the prompt and of the response of each sequence, as lists."""

    def ids(text):
        return list(tokenizer(text, add_special_tokens=False)["input_ids"])

    prompts = [ids(f"<|user|>{PROMPTS[i // 2]}<|end|><|assistant|>") for i in range(4)]
    return prompts, [ids(text) for text in RESPONSES]


def weights_alone(loaded, ids, mask, credit):
    """The weights of a response in a batch of its own, without any padding: `token_credit` itself.

    ids: (T,) of prompt and response. mask: (R,) of the response, 0 at tool output.
    """
    prompt, response = ids[: -len(mask)][None], ids[-len(mask) :][None]
    batch = score_batch(
        loaded.tokenizer,
        prompt_ids=prompt,
        prompt_mask=torch.ones_like(prompt),
        completion_ids=response,
        completion_mask=torch.ones_like(response),
        tool_mask=mask[None].long(),
    )
    return token_credit(loaded.model, batch, credit).weights[0, prompt.shape[1] :]
