"""Recipes for models that no package carries whole: each has `build(name, folder)` and leaves `model.onnx` there."""
