"""The part of onnxruntime's tools for transformers that programs need to run models."""
