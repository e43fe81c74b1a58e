"""Hide tokens and see what becomes of the answer: the study, its summary, its report."""
