"""Train a tiny hybrid and its twin with softmax attention alone.

    python scripts/hybrids/train.py --work build/hybrids

Both are Bamba of 6 layers; the hybrid has Mamba 2 in 4 of them. (Qwen3.5, whose delta nets run
on a CPU in a loop, was too slow.) A model that exists is kept.
"""

import argparse
import math
import random
import time
from pathlib import Path

import torch
from settings import BATCH, PEAK, SEEDS, SOFTMAX_LAYERS, STEPS, WARMUP
from task import END, PAD, VOCABULARY, batch
from transformers import BambaConfig, BambaForCausalLM


def build(kind: str) -> BambaForCausalLM:
    """An untrained model."""
    return BambaForCausalLM(
        BambaConfig(
            vocab_size=VOCABULARY,
            hidden_size=64,
            intermediate_size=128,
            num_hidden_layers=6,
            num_attention_heads=4,
            num_key_value_heads=4,
            attn_layer_indices=SOFTMAX_LAYERS[kind],
            initializer_range=0.08,
            mamba_n_heads=8,
            mamba_d_head=16,
            mamba_d_state=32,
            mamba_n_groups=1,
            mamba_expand=2,
            mamba_chunk_size=16,
            max_position_embeddings=128,
            tie_word_embeddings=True,
            pad_token_id=PAD,
            bos_token_id=None,
            eos_token_id=END,
        )
    )


def train(kind: str, seed: int, steps: int = STEPS) -> BambaForCausalLM:
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
        for kind in SOFTMAX_LAYERS:
            folder = options.work / f"{kind}-{seed}"
            if not folder.exists():
                model = train(kind, seed)
                print(f"{kind}: {sum(p.numel() for p in model.parameters()):,} parameters")
                model.save_pretrained(folder)


if __name__ == "__main__":
    main()
