"""Real models, comparison with ONNX Runtime, and timings."""
