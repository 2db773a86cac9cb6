"""Photos, camera shots and exports become samples of the gallery."""
