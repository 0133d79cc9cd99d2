"""Scorers: from features to log-odds that the cheap model answers as the expensive one would."""
