"""Models at work: the pipeline, the scheduler over the NPU's cores, and how fast and how exact they are."""
