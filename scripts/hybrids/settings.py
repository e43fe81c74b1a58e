"""What is trained and measured; committed before the run."""

SEEDS = (0, 1, 2)  # of training runs, each of both kinds
SOFTMAX_LAYERS = {"hybrid": [2, 5], "softmax": [0, 1, 2, 3, 4, 5]}  # of 6; the others are Mamba 2
STEPS, BATCH, PEAK, WARMUP = 200, 32, 3e-3, 50  # AdamW, cosine to a twentieth
LETTERS, VALUES, ASKED = 6, 4, 8
FILLERS = 2
PROBLEMS = 60  # held out, measured with each model; those that it solves
RATIO = 0.4  # of the response's tokens, section 3.3 of the paper
EVALUATION_SEED = 1_000_003
