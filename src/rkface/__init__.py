"""rkface: face detection and recognition on Rockchip NPUs, from ONNX models to a camera service."""
