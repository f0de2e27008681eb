"""The implementations of a model: ONNX, NumPy and generated C, behind one protocol."""
