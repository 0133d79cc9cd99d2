"""Reading ONNX files into the IR, and writing the IR back as ONNX."""
