"""Knock tokens out and see what becomes of the answer: the study, its summary, its report."""
