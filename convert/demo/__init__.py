"""Synthetic faces, and small models trained on them: the whole chain without a download. No claim about people."""
