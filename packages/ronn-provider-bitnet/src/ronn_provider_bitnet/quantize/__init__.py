"""Post-training quantisation to a few bits: fits, GPTQ, and what they cost."""
