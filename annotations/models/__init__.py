"""The shipped ONNX models, each with its card."""
