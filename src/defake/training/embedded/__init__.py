"""Training of the detectors that ship in the package: crops in, `default.onnx` and `fast.onnx` out."""
