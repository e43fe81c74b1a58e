"""Find out how reasoning flows from a prompt to its answer inside a language model."""
