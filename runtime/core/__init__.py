"""The base of the runtime: it imports nothing else of rkface."""
