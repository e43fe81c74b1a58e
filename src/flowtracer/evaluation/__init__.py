"""How often a model is right: completions, accuracy with intervals, pass@k."""
