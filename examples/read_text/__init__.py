"""Reads the text in a picture: a detector finds lines, a recogniser reads them. Both are ONNX models run by RONN."""
