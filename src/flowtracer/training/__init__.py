"""Training runs with credit, on TRL: settings, run, metrics, curves."""
