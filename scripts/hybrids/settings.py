"""What is trained and measured; committed before the run."""

SEEDS = (0, 1)  # of training runs, each of both kinds
LAYERS = {"hybrid": ["linear_attention", "linear_attention", "full_attention"] * 2,
          "softmax": ["full_attention"] * 6}  # fmt: skip
STEPS, BATCH, PEAK, WARMUP = 1200, 32, 3e-3, 50  # AdamW, cosine to a twentieth
LETTERS, VALUES, GIVEN, ASKED = 6, 4, 4, 2
FILLERS = 3
PROBLEMS = 200  # held out, measured with each model; those that it solves
RATIO = 0.4  # of the response's tokens, section 3.3 of the paper
EVALUATION_SEED = 1_000_003
