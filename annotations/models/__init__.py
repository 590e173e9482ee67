"""The shipped ONNX models, each with its card."""

SHIPPED = ("detector", "landmarker", "embedder", "attributes")
