"""Commands besides `trace` and `show`; what they need is imported when they run."""
