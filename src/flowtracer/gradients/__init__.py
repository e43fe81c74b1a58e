"""Gradients of credit rules from one forward pass, and how they agree with the reward's own."""
