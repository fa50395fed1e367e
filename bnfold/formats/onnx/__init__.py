"""ONNX models, on onnx-ir."""
