"""``rkface doctor``: checks of a board's hardware, drivers and software, here or over ssh, with a fix for each problem."""
