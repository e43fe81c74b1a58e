"""Tasks with exact answers: problems, prompts and checkers."""
