"""ONNX files: float and QDQ models."""
