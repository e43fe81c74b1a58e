"""Credit for files of rollouts: streaming, resumable, in one process or in many."""
