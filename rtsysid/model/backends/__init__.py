"""The implementations of a model behind one protocol: ONNX, NumPy and generated C."""
