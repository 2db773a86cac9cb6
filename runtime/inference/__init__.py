"""Inference: the pipeline, the scheduler on all NPU cores, and checks of accuracy and speed."""
