"""How long prompts, responses and bodies may be."""

from dataclasses import dataclass
from typing import Any

from torch import nn

from flowtracer.models.decoder import find_decoder
from flowtracer.workbench.fields import Refused

PROMPT_TOKENS = 4096  # our choice
RESPONSE_TOKENS = 4096  # our choice: the page stays quick
NEW_TOKENS = 512  # of an answer unless the request says more, our choice
BODY = 2_000_000  # bytes, our choice
SESSION_BODY = 20_000_000  # bytes of a session file, our choice
CHARACTERS_PER_TOKEN = 40  # our choice: longer texts are refused before they are tokenized


@dataclass(frozen=True)
class Limits:
    """Tokens at most. context: of prompt and response together, None where the model has no bound."""

    prompt_tokens: int = PROMPT_TOKENS
    response_tokens: int = RESPONSE_TOKENS
    context: int | None = None

    @property
    def prompt_characters(self) -> int:
        """Characters of a prompt that is tokenized at all."""
        return CHARACTERS_PER_TOKEN * self.prompt_tokens

    @property
    def response_characters(self) -> int:
        """Characters of a pasted response that is tokenized at all."""
        return CHARACTERS_PER_TOKEN * self.response_tokens

    def check(self, prompt: int, response: int) -> None:
        """Raise Refused for a text of so many tokens that is too long, or has no prompt."""
        if prompt == 0:
            raise Refused("the prompt is empty; give the problem's text")
        for name, count, most in (
            ("prompt", prompt, self.prompt_tokens),
            ("response", response, self.response_tokens),
        ):
            if count > most:
                raise Refused(
                    f"the {name} has {count:,} tokens and at most {most:,} are taken; shorten it, or start "
                    f"the server with --max-{name}-tokens {count}",
                    413,
                )
        if self.context is not None and prompt + response > self.context:
            raise Refused(
                f"the text has {prompt + response:,} tokens and the model reads at most {self.context:,}",
                413,
            )

    def room(self, prompt: int, response: int = 0) -> int:
        """Tokens that a response may still grow by. Raises Refused where there are none."""
        room = self.response_tokens - response
        if self.context is not None:
            room = min(room, self.context - prompt - response)
        if room < 1:
            raise Refused("the text is as long as it may be; there is no room to go on", 413)
        return room


def context_of(model: nn.Module) -> int | None:
    """Tokens that the model has positions for; None for rotary ones, which go on without an end."""
    config: Any = find_decoder(model).config.get_text_config()
    if getattr(config, "rope_parameters", None) or getattr(config, "rope_theta", None):
        return None
    return getattr(config, "max_position_embeddings", None)
