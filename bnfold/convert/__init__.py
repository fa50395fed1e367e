"""Keras to ONNX: the direct road (a table of layers) and the road through tf2onnx."""
