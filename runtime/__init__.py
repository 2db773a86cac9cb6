"""What runs on the board: images to faces to embeddings, and the camera service."""
