"""Frames from cameras, network streams, recordings and folders of photos."""
