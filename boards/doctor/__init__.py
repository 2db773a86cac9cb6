"""``rkface doctor``: checks a board's hardware, drivers and software, here or over ssh, and suggests fixes."""
