"""Faces of consecutive frames become tracks, visits and appearances."""
