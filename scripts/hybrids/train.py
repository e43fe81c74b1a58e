"""Train a tiny hybrid and its twin with softmax attention alone.

    python scripts/hybrids/train.py --work build/hybrids

Both are MiniMax of 6 layers with one expert; the hybrid has lightning attention in 4 of them. (Qwen3.5, whose
delta nets run on a CPU in a loop, would take hours.) A model that exists is kept.
"""

import argparse
import math
import random
import time
from pathlib import Path

import torch
from settings import BATCH, LAYERS, PEAK, SEEDS, STEPS, WARMUP
from task import END, PAD, VOCABULARY, batch
from transformers import MiniMaxConfig, MiniMaxForCausalLM


def build(kind: str) -> MiniMaxForCausalLM:
    """An untrained model."""
    return MiniMaxForCausalLM(
        MiniMaxConfig(
            vocab_size=VOCABULARY,
            hidden_size=64,
            intermediate_size=128,
            num_hidden_layers=6,
            num_attention_heads=4,
            num_key_value_heads=4,
            head_dim=16,
            layer_types=LAYERS[kind],
            num_local_experts=1,
            num_experts_per_tok=1,
            block_size=64,
            max_position_embeddings=128,
            tie_word_embeddings=True,
            pad_token_id=PAD,
            bos_token_id=None,
            eos_token_id=END,
        )
    )


def train(kind: str, seed: int, steps: int = STEPS) -> MiniMaxForCausalLM:
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
