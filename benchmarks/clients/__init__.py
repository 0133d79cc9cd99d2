"""Programs of others that import onnxruntime, run with it and with RONN under its name."""
