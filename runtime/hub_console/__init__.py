"""The hub's own server: a page with all boards, and an API for programs."""
