"""A trainer whose model asks tools and answers as a script says; everything but sampling is TRL's."""

import torch
from datasets import Dataset
from transformers import Qwen3Config, Qwen3ForCausalLM
from trl.chat_template_utils import qwen3_instruct_2507_chat_template

from helpers.grpo import grpo_trainer
from helpers.small_tokenizers import byte_level

END = "<|im_end|>"
CALL = '<tool_call>\n{"name": "add", "arguments": {"a": 18, "b": 7}}\n</tool_call>' + END
WRONG_CALL = '<tool_call>\n{"name": "divide", "arguments": {"a": 1}}\n</tool_call>' + END
# What the four responses to a prompt say in each of their turns.
SCRIPT = (
    (CALL, "So 18 + 7 is 25, and that is all.\n\\boxed{25}" + END),
    ("I add 18 and 7.\n\\boxed{26}" + END,),
    (WRONG_CALL, CALL, "It took two calls.\n\\boxed{25}" + END),
    (CALL, "The tool said so, and I never come to an end"),
)
QUESTION = "What is 18 + 7?"
ENVIRONMENT = "\nenvironment: \\boxed{99}\n"


def tool_tokenizer():
    """A small tokenizer of bytes with the template of Qwen3-Instruct-2507."""
    tokenizer = byte_level()
    names = ["<|im_start|>", "<tool_call>", "</tool_call>", "<tool_response>", "</tool_response>"]
    tokenizer.add_tokens(names)
    tokenizer.add_special_tokens({"eos_token": END, "pad_token": "<|endoftext|>"})
    tokenizer.chat_template = qwen3_instruct_2507_chat_template
    tokenizer.padding_side = "left"
    return tokenizer


def tool_model(tokenizer):
    torch.manual_seed(0)
    return Qwen3ForCausalLM(
        Qwen3Config(
            vocab_size=len(tokenizer),
            hidden_size=32,
            intermediate_size=48,
            num_hidden_layers=3,
            num_attention_heads=2,
            num_key_value_heads=1,
            head_dim=16,
            max_position_embeddings=2048,
            eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.pad_token_id,
        )
    )


def add(a: int, b: int) -> str:
    """Adds two numbers.

    Args:
        a: The first one.
        b: The second one.

    Returns:
        Their sum.
    """
    return f"the sum is \\boxed{{{a + b}}}"


class Calculator:
    """An environment that asks its own question and scores itself."""

    def reset(self, **row):
        self.calls = 0
        return " Use the tool."

    def add(self, a: int, b: int) -> str:
        """Adds two numbers.

        Args:
            a: The first one.
            b: The second one.

        Returns:
            Their sum.
        """
        self.calls += 1
        return f"the sum is \\boxed{{{a + b}}}"

    def get_reward(self) -> float:
        return float(self.calls)


def right(completions, **_):
    """1 for the right box, a little for length: no two rewards of a group are equal."""
    texts = [completion[-1]["content"] for completion in completions]
    return [("\\boxed{25}" in text) + len(text) / 1000 for text in texts]


class Scripted:
    """Says what SCRIPT has for a row's next turn; put it before TRL's trainer."""

    def _generate(self, prompts):
        self.turns = {}
        return super()._generate(prompts)

    def _generate_single_turn(self, prompt_ids, *args, **kwargs):
        # The first call has all rows, later ones those that called a tool, in order.
        first = not self.turns
        going = [row for row, turn in self.turns.items() if turn < len(SCRIPT[row])]
        rows = range(len(prompt_ids)) if first else going
        texts = []
        for row in rows:
            turn = self.turns.get(row, 0)
            self.turns[row] = turn + 1
            texts.append(SCRIPT[row][turn])
        tokenizer = self.processing_class
        return [tokenizer(text, add_special_tokens=False)["input_ids"] for text in texts], None


def tokens_of_turns(tokenizer, turns, between):
    """Token ids of turns with a text between them, and 1 for each that the policy wrote."""
    ids, mask = [], []
    for number, text in enumerate(turns):
        for part, own in ((between if number else "", 0), (text, 1)):
            tokens = tokenizer(part, add_special_tokens=False)["input_ids"]
            ids, mask = ids + tokens, mask + [own] * len(tokens)
    return ids, mask


def scripted_rollouts(prompts, trainer):
    """A rollout_func: one turn of the policy, what an environment says, and the answer."""
    tokenizer = trainer.processing_class
    asked = [
        tokenizer.apply_chat_template(prompt, add_generation_prompt=True, return_dict=False)
        for prompt in prompts
    ]
    turns = [SCRIPT[row % len(SCRIPT)] for row in range(len(prompts))]
    written = [tokens_of_turns(tokenizer, script, ENVIRONMENT) for script in turns]
    completions, masks = map(list, zip(*written, strict=True))
    return {
        "prompt_ids": asked,
        "completion_ids": completions,
        "logprobs": [[-1.0] * len(ids) for ids in completions],
        "env_mask": masks,
        "bonus": [float(row) for row in range(len(prompts))],
    }


def with_bonus(completions, bonus, **_):
    """The extra field of a rollout_func reaches rewards."""
    return bonus


def tool_trainer(kind, folder, *, reward=right, dataset=None, config=None, **options):
    tokenizer = tool_tokenizer()
    rows = [{"prompt": [{"role": "user", "content": QUESTION}]}] * 4
    return grpo_trainer(
        kind,
        tool_model(tokenizer),
        tokenizer,
        folder,
        reward=reward,
        config={"per_device_train_batch_size": 4, "max_completion_length": 400} | (config or {}),
        dataset=Dataset.from_list(dataset or rows),
        **options,
    )
