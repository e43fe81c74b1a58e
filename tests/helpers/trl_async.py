"""TRL's asynchronous GRPO without a server: samples at hand, and its attention over a tree on a CPU."""

import queue
from unittest import mock

import numpy as np
import torch
from datasets import Dataset
from transformers import AttentionInterface
from trl.experimental.async_grpo import AsyncGRPOConfig, async_grpo_trainer
from trl.experimental.async_grpo.async_rollout_worker import RolloutSample
from trl.experimental.async_grpo.packing import TREE_ATTENTION

from helpers.trl_settings import IN_TESTS
from helpers.trl_tools import SCRIPT, tokens_of_turns, tool_model, tool_tokenizer

PROMPT = "<|im_start|>user\nWhat is 18 + 7?<|im_end|>\n<|im_start|>assistant\n"
RESULT = "\nthe tool: \\boxed{99}\n"
ADVANTAGES = (1.0, -0.5, 0.25, 0.0)


def made_samples(tokenizer):
    """A group of four responses to one prompt, some of several turns with a tool's words between."""
    random = np.random.default_rng(0)
    samples = []
    for turns, advantage in zip(SCRIPT, ADVANTAGES, strict=True):
        prompt = tokenizer(PROMPT, add_special_tokens=False)["input_ids"]
        response, written = tokens_of_turns(tokenizer, turns, RESULT)
        ids, mask = prompt + response, [0] * len(prompt) + written
        samples.append(
            RolloutSample(
                prompt=[],
                completion=[],
                input_ids=np.array(ids),
                completion_mask=np.array(mask),
                old_log_probs=-5.5 + 0.3 * random.standard_normal(len(ids)),
                advantage=advantage,
                model_version=1,
                group_id=0,
                metrics={},
            )
        )
    return samples


class Worker:
    """A rollout worker of TRL's protocol whose samples are all there."""

    def __init__(self, samples):
        self.rollout_buffer, self.metrics_queue = queue.Queue(), queue.Queue()
        for sample in samples:
            self.rollout_buffer.put(sample)

    def start(self):
        pass

    def stop(self):
        pass

    def update_model_version(self, version):
        pass

    def check_health(self, stale_after_s):
        raise TimeoutError("no samples are left")


class NoTransfer:
    def __getattr__(self, name):
        return lambda *args: None


def attention_over_tree(module, query, key, value, attention_mask, **kwargs):
    """What TRL's kernel computes: each segment attends to its path from the root."""
    queries, paths = kwargs["tree_cu_seqlens_q"].tolist(), kwargs["tree_cu_seqlens_k"].tolist()
    outputs = []
    for segment in range(len(queries) - 1):
        path = kwargs["tree_kv_index"][paths[segment] : paths[segment + 1]]
        asked = query[:, :, queries[segment] : queries[segment + 1]]
        count, length = asked.shape[2], len(path)
        seen = torch.arange(length) <= torch.arange(length - count, length)[:, None]
        outputs.append(
            torch.nn.functional.scaled_dot_product_attention(
                asked,
                key[:, :, path],
                value[:, :, path],
                attn_mask=seen,
                scale=kwargs["scaling"],
                enable_gqa=True,
            )
        )
    return torch.cat(outputs, 2).transpose(1, 2), None


def async_trainer(kind, folder, *, config=None, **options):
    """A trainer of a small random model, and the samples that it will train on."""
    tokenizer = tool_tokenizer()
    model = tool_model(tokenizer)
    model.save_pretrained(folder / "model")
    tokenizer.save_pretrained(folder / "model")
    samples = made_samples(tokenizer)
    settings = {
        **IN_TESTS,
        "output_dir": str(folder / "out"),
        "max_steps": 1,
        "per_device_train_batch_size": len(samples),
        "token_budget": 0,
        "learning_rate": 1e-2,
        "optim": "sgd",
        "gradient_checkpointing": False,
    }
    # It asks for the speed of a GPU, whether there is one or not.
    with mock.patch.object(async_grpo_trainer, "get_peak_flops_per_device", lambda *args: None):
        trainer = kind(
            model=str(folder / "model"),
            args=AsyncGRPOConfig(**settings | (config or {})),
            reward_funcs=lambda **_: [],
            train_dataset=Dataset.from_dict({"prompt": ["What is 18 + 7?"]}),
            # Three times: the data loader asks for the next rows before it is done with these.
            rollout_worker=Worker([s for _ in range(3) for s in made_samples(tokenizer)]),
            weight_transfer=NoTransfer(),
            **options,
        )
    AttentionInterface.register(TREE_ATTENTION, attention_over_tree)  # in the kernel's place
    return trainer, samples
