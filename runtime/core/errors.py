"""The errors a user can cause. Everything else is a bug and may crash loudly."""

from __future__ import annotations


class RkfaceError(Exception):
    """Something the user can mend. The message says what is wrong, where, and what to do next.

    ``exit_code`` is what a command returns: 2 for wrong use or input, 1 for work that failed.
    """

    exit_code = 1


class InputError(RkfaceError):
    """The command, file or setting given cannot be used."""

    exit_code = 2


class ModelError(InputError):
    """A model is not what its role needs."""


class BundleError(InputError):
    """A bundle is missing, damaged, or made for something else."""


class WorkError(RkfaceError):
    """The input was fine but the work failed: the toolkit, the disk, the network, or accuracy below the bar."""


class DeviceError(RkfaceError):
    """The NPU, its driver or its library did not do what they should."""
