"""Synthetic faces, and small models trained on them: the complete process without a download. Nothing here is a claim
about people."""
