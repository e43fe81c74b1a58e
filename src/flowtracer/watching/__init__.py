"""Rollouts of a run with what each token was rewarded: kept as files, read again, shown as a page."""
