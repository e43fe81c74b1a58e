"""Train a tiny hybrid and its twin with softmax attention alone.

    python scripts/hybrids/train.py --work build/hybrids

Both are Qwen3.5 of 6 layers; the hybrid has gated delta nets in 4 of them. A model that exists is kept.
"""

import argparse
import math
import random
import time
from pathlib import Path

import torch
from settings import BATCH, INTERMEDIATE, LAYERS, PEAK, SEEDS, STEPS, WARMUP
from task import END, PAD, VOCABULARY, batch
from transformers import Qwen3_5ForCausalLM, Qwen3_5TextConfig


def build(kind: str) -> Qwen3_5ForCausalLM:
    """An untrained model."""
    return Qwen3_5ForCausalLM(
        Qwen3_5TextConfig(
            vocab_size=VOCABULARY,
            hidden_size=96,
            intermediate_size=INTERMEDIATE[kind],
            num_hidden_layers=6,
            num_attention_heads=4,
            num_key_value_heads=2,
            head_dim=32,
            layer_types=LAYERS[kind],
            linear_num_key_heads=2,
            linear_num_value_heads=4,
            linear_key_head_dim=32,
            linear_value_head_dim=32,
            max_position_embeddings=128,
            tie_word_embeddings=True,
            pad_token_id=PAD,
            bos_token_id=None,
            eos_token_id=END,
        )
    )


def train(kind: str, seed: int, steps: int = STEPS) -> Qwen3_5ForCausalLM:
    """A trained model; seed: of its weights and of its data, the same data for both kinds."""
    torch.manual_seed(seed)
    model, generator = build(kind).train(), random.Random(seed)
    optimizer = torch.optim.AdamW(model.parameters(), lr=PEAK, weight_decay=0.1, betas=(0.9, 0.95))
    start = time.monotonic()
    for step in range(steps):
        progress = max(0, step - WARMUP) / (steps - WARMUP)
        rate = (
            PEAK
            * min(1, (step + 1) / WARMUP)
            * (0.05 + 0.95 * (1 + math.cos(math.pi * progress)) / 2)
        )
        for group in optimizer.param_groups:
            group["lr"] = rate
        ids, labels = batch(generator, BATCH)
        loss = model(input_ids=ids, labels=labels).loss
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        if step % 50 == 0:
            seconds = time.monotonic() - start
            print(f"{kind} {seed} step {step} loss {loss.item():.4f} {seconds:.0f}s", flush=True)
    return model.eval()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--work", type=Path, default=Path("build/hybrids"))
    options = parser.parse_args()
    for seed in SEEDS:
        for kind in LAYERS:
            folder = options.work / f"{kind}-{seed}"
            if not folder.exists():
                model = train(kind, seed)
                print(f"{kind}: {sum(p.numel() for p in model.parameters()):,} parameters")
                model.save_pretrained(folder)


if __name__ == "__main__":
    main()
