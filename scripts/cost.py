"""What credit costs beside a training step, by counting: the tables of docs/scale.md.

    python scripts/cost.py

Nothing is run. Products are counted as two operations for each multiplication; a causal text of T
tokens has T^2 / 2 pairs. Times divide operations by a speed that is assumed, not measured.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Shape:
    """A decoder-only model."""

    name: str
    layers: int
    hidden: int
    mlp: int
    heads: int
    kv_heads: int
    head: int
    vocabulary: int

    @property
    def layer_weights(self) -> int:
        attention = self.hidden * self.head * (2 * self.heads + 2 * self.kv_heads)
        return attention + 3 * self.hidden * self.mlp

    @property
    def parameters(self) -> int:
        return self.layers * self.layer_weights + self.vocabulary * self.hidden


MODELS = (
    Shape("Qwen3-4B", 36, 2560, 9728, 32, 8, 128, 151_936),
    Shape("Qwen3-8B", 36, 4096, 12_288, 32, 8, 128, 151_936),
    Shape("Qwen3-32B", 64, 5120, 25_600, 64, 8, 128, 151_936),
)
SMOLLM2 = Shape("SmolLM2-135M", 30, 576, 1536, 9, 3, 64, 49_152)
LENGTHS = (1024, 8192, 32_768, 131_072)
GPUS = (8, 64, 256, 1024)

BATCH = 512  # responses of a step, section 4 of the paper
SPEED = 4e14  # operations a second of one GPU in large bfloat16 products, assumed (H100 at 40%)
DECODE = 4.0  # sampling a token takes as long as so many operations of a forward would, assumed
TILE_PRODUCTS = 2  # times that every tile of a chosen layer is computed, once for each solve
DENSE_BYTES = 5e9  # beyond such a T x T, tiles: a sixteenth of 80 GB


def pair_operations(model: Shape, length: int) -> float:
    """Of one layer's queries with keys, all heads, (T^2 / 2 pairs)."""
    return 2 * model.heads * model.head * length**2 / 2


def plain_forward(model: Shape, length: int) -> float:
    """With logits of every token."""
    weights = model.layers * model.layer_weights + model.vocabulary * model.hidden
    return 2 * weights * length + 2 * model.layers * pair_operations(model, length)


def credit(model: Shape, length: int, *, tiles: bool) -> float:
    """Truncated forward, in tiles the chosen layers' attention twice more; solves are T^2 each."""
    first, last = model.layers // 3, 2 * model.layers // 3
    forward = 2 * (last - 1) * model.layer_weights * length
    forward += (2 * (last - 1) + 1) * pair_operations(model, length)
    forward += 2 * model.hidden * model.head * (model.heads + model.kv_heads) * length
    tile_products = TILE_PRODUCTS * (last - first) * pair_operations(model, length) if tiles else 0
    return forward + tile_products + 4 * length**2


def ridden(model: Shape, length: int) -> float:
    """On top of a forward that runs anyway: the chosen layers' products once more, and both solves."""
    chosen = 2 * model.layers // 3 - model.layers // 3
    return chosen * pair_operations(model, length) + 4 * length**2


def step(model: Shape, length: int) -> float:
    """Sampling, and forward and backward with recomputed activations (four forwards)."""
    return (DECODE + 4) * plain_forward(model, length)


def memory(model: Shape, length: int, *, tiles: bool) -> float:
    """Bytes beside the model: T x T in float32, or queries, keys and logsumexp of the chosen layers."""
    if not tiles:
        return 4.0 * length**2
    chosen = 2 * model.layers // 3 - model.layers // 3
    kept = 2 * model.head * (model.heads + model.kv_heads) + 4 * model.heads
    return float(chosen * kept * length)


def main() -> None:
    print(
        "| model | tokens | way | credit / forward | credit / step | riding / forward "
        "| bytes beside the model |"
    )
    print("|---|---|---|---|---|---|---|")
    for model in MODELS:
        for length in LENGTHS:
            tiles = 4 * length**2 > DENSE_BYTES
            over = credit(model, length, tiles=tiles)
            print(
                f"| {model.name} | {length:,} | {'tiles' if tiles else 'dense'} "
                f"| {over / plain_forward(model, length):.2f} "
                f"| {100 * over / step(model, length):.1f}% "
                f"| {'-' if tiles else f'{ridden(model, length) / plain_forward(model, length):.3f}'} "
                f"| {memory(model, length, tiles=tiles) / 1e9:.2f} GB |"
            )
    print(f"\nSeconds of credit by a pass of its own for {BATCH} responses, and of the step:\n")
    print("| model | tokens | " + " | ".join(f"{count} GPUs" for count in GPUS) + " |")
    print("|---|---|" + "---|" * len(GPUS))
    for model in MODELS:
        for length in LENGTHS:
            tiles = 4 * length**2 > DENSE_BYTES
            parts = [BATCH / (SPEED * min(count, BATCH)) for count in GPUS]
            costs = credit(model, length, tiles=tiles), step(model, length)
            cells = [f"{costs[0] * part:.3g} / {costs[1] * part:.3g}" for part in parts]
            print(f"| {model.name} | {length:,} | " + " | ".join(cells) + " |")
    print("\nThe count for SmolLM2-135M, to compare with the measured figures:\n")
    print("| tokens | dense / forward | tiles / forward |")
    print("|---|---|---|")
    for length in (512, 1024, 2048, 4096, 8192, 16_384, 32_768):
        ratios = [
            credit(SMOLLM2, length, tiles=tiles) / plain_forward(SMOLLM2, length)
            for tiles in (False, True)
        ]
        print(f"| {length:,} | {ratios[0]:.2f} | {ratios[1]:.2f} |")


if __name__ == "__main__":
    main()
