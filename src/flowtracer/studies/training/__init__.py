"""Train with every method and seed: the variants, the study, its report."""
