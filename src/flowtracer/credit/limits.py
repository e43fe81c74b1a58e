"""How much of a batch goes through the model in one forward pass, by the device."""

from dataclasses import dataclass

from torch import nn

from flowtracer.attention.maskless import maskless
from flowtracer.attention.shared_prompt import can_share
from flowtracer.models.decoder import device_of, find_decoder

CHUNK = 1 << 25  # entries of (rows, T, T) in one forward, our choice: 128 MiB of attention
CHUNK_ON_GPU = 1 << 29  # our choice: 2 GiB, eight rows of 8,192 tokens
TOKENS_ON_GPU = 1 << 16  # of one forward, our choice: enough for a GPU, little of its memory
# Of one forward, our choice: what its layers pass on stays in the cache of a core; with more the embedded
# model takes half as long again.
TOKENS_ON_CPU = 1 << 12
SHARED = 64  # prompt tokens, our choice: below, a second forward costs more than it saves
# Our choice: on a GPU two smaller forwards and a mask cost more than a prompt that runs again, unless it
# is most of the work.
SHARED_ON_GPU = 2048


@dataclass(frozen=True)
class ForwardLimits:
    """What one forward pass may have, for `chunks`.

    most: entries of (rows, T, T). tokens: None for as many as `most` allows. share_from: tokens of a
    prompt from which on it runs once for all of its responses; None: never.
    """

    most: int
    tokens: int | None
    share_from: int | None


def forward_limits(
    model: nn.Module, *, attention_only: bool, chunk: int | None, share_prompts: bool
) -> ForwardLimits:
    """Limits for scorers that read this model.

    attention_only: whether they read nothing but attention. chunk: `most`, where the caller chose it.
    share_prompts: whether prompts may be shared.
    """
    share = share_prompts and attention_only and can_share(model)
    if attention_only and maskless(model):
        return ForwardLimits(chunk or CHUNK_ON_GPU, TOKENS_ON_GPU, SHARED_ON_GPU if share else None)
    on_cpu = device_of(find_decoder(model)).type == "cpu"
    tokens = TOKENS_ON_CPU if on_cpu and chunk is None else None
    return ForwardLimits(chunk or CHUNK, tokens, SHARED if share else None)
