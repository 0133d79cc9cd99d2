"""Finds the passages of texts that answer a question, by meaning."""
