"""Operators in float64, where onnx.reference has none that is right and fast enough."""
