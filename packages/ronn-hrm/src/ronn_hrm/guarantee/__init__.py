"""Certified thresholds: bounds, the kinds of guarantee, certificates."""
