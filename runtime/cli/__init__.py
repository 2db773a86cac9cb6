"""The `rkface` command: one module for each group of commands."""
