"""The base of all other packages: errors, the bundle format, faces, atomic file writes, progress display."""
