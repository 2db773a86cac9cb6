"""The release of rknn-toolkit2 that rkface is written for and tested with. The Makefile installs this one."""

TOOLKIT_VERSION = "2.5.0"
