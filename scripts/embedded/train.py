"""Train the model that ships inside the package, or one of its kind for four numbers.

    python scripts/embedded/train.py --work build/embedded
    python scripts/embedded/train.py --numbers 4 --start src/flowtracer/embedded \\
      --peak 1e-3 --steps 600 --work build/four

Seeded, and restartable: run the same command again and it goes on from its last checkpoint, with
the same batches in the same order. The finished model lands in `<work>/model`.
"""

import argparse
import math
import random
import time
from pathlib import Path

import torch
from transformers import PreTrainedTokenizerFast, Qwen3Config, Qwen3ForCausalLM

from flowtracer.tasks.countdown import attempts
from tokenizer import build_tokenizer
from traces import training_problems, write_trace

IGNORE = -100


def build_model(tokenizer: PreTrainedTokenizerFast) -> Qwen3ForCausalLM:
    config = Qwen3Config(
        vocab_size=len(tokenizer),
        hidden_size=128,
        num_hidden_layers=6,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=32,
        intermediate_size=320,
        max_position_embeddings=1024,
        rope_theta=10_000.0,
        tie_word_embeddings=True,
        bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    return Qwen3ForCausalLM(config)


def make_batch(problems, tokenizer, *, seed: int, step: int, size: int):
    """Token ids and labels, (size, T) each, right-padded; only response tokens are learnt."""
    generator = random.Random(f"{seed}/{step}")
    rows = []
    for problem in generator.choices(problems, k=size):
        numbers = generator.sample(problem.numbers, len(problem.numbers))
        shuffled = type(problem)(tuple(numbers), problem.target)
        prompt = tokenizer.apply_chat_template(
            [{"role": "user", "content": shuffled.prompt}],
            add_generation_prompt=True,
            tokenize=False,
        )
        rows.append((prompt, write_trace(problem, generator) + tokenizer.eos_token))
    prompts = tokenizer([prompt for prompt, _ in rows])["input_ids"]
    responses = tokenizer([response for _, response in rows])["input_ids"]
    longest = max(len(p) + len(r) for p, r in zip(prompts, responses, strict=True))
    ids = torch.full((size, longest), tokenizer.pad_token_id)
    labels = torch.full((size, longest), IGNORE)
    for row, (p, r) in enumerate(zip(prompts, responses, strict=True)):
        ids[row, : len(p) + len(r)] = torch.tensor(p + r)
        labels[row, len(p) : len(p) + len(r)] = torch.tensor(r)
    return ids, labels


def learning_rate(step: int, *, steps: int, peak: float, warmup: int = 50) -> float:
    """Linear warm-up, then cosine to a twentieth of the peak."""
    if step < warmup:
        return peak * (step + 1) / warmup
    progress = (step - warmup) / max(1, steps - warmup)
    return peak * (0.05 + 0.95 * (1 + math.cos(math.pi * progress)) / 2)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--work", type=Path, default=Path("build/embedded"))
    parser.add_argument("--steps", type=int, default=1500)
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--peak", type=float, default=3e-3, help="peak learning rate")
    parser.add_argument("--numbers", type=int, choices=(3, 4), nargs="+", default=[3])
    parser.add_argument("--start", type=Path, help="model to go on from, instead of a new one")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--save-every", type=int, default=100)
    options = parser.parse_args()

    options.work.mkdir(parents=True, exist_ok=True)
    checkpoint = options.work / "checkpoint.pt"
    torch.manual_seed(options.seed)
    tokenizer = build_tokenizer()
    if options.start is None:
        model = build_model(tokenizer)
    else:
        model = Qwen3ForCausalLM.from_pretrained(options.start, dtype=torch.float32)
    optimizer = torch.optim.AdamW(model.parameters(), weight_decay=0.1, betas=(0.9, 0.95))
    done = 0
    if checkpoint.exists():
        state = torch.load(checkpoint, weights_only=True)
        model.load_state_dict(state["model"])
        optimizer.load_state_dict(state["optimizer"])
        done = state["step"]
    problems = [problem for count in options.numbers for problem in training_problems(count)]
    size = sum(p.numel() for p in model.parameters())
    print(f"{size:,} parameters, {len(problems):,} problems, from step {done}", flush=True)

    started = time.monotonic()
    model.train()
    for step in range(done, options.steps):
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(step, steps=options.steps, peak=options.peak)
        if max(options.numbers) > 3:
            attempts.cache_clear()  # they would fill the memory
        ids, labels = make_batch(
            problems, tokenizer, seed=options.seed, step=step, size=options.batch
        )
        loss = model(input_ids=ids, labels=labels).loss  # right-padded: no mask needed
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        if step % 20 == 0:
            print(
                f"step {step} loss {loss.item():.4f} {time.monotonic() - started:.0f}s", flush=True
            )
        if (step + 1) % options.save_every == 0 or step + 1 == options.steps:
            state = {"model": model.state_dict(), "optimizer": optimizer.state_dict()}
            torch.save(state | {"step": step + 1}, checkpoint.with_suffix(".new"))
            checkpoint.with_suffix(".new").replace(checkpoint)

    # Stored in half the bytes; its measured figures are of these rounded weights.
    model.to(torch.bfloat16).save_pretrained(options.work / "model")
    tokenizer.save_pretrained(options.work / "model")


if __name__ == "__main__":
    main()
