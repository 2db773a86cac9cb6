"""The errors that a user can cause. Any other exception is a bug."""

from __future__ import annotations


class RkfaceError(Exception):
    """Base of all errors that a user can cause. The message says what is wrong, where, and what to do next.

    Attributes:
        exit_code: What a command returns: 2 for wrong use or input, 1 for work that failed.
    """

    exit_code = 1


class InputError(RkfaceError):
    """A command, argument, file or setting is wrong."""

    exit_code = 2


class ModelError(InputError):
    """A model cannot be loaded, or is not suitable for its role."""


class BundleError(InputError):
    """A bundle is missing, incomplete or changed, or was made for another chip or version."""


class WorkError(RkfaceError):
    """The input was correct, but the work failed: toolkit, disk, network, or accuracy below the requirement."""


class DeviceError(RkfaceError):
    """The NPU, its driver or its library failed."""


class UnopenedModelError(DeviceError):
    """A model that is loaded when it is first needed cannot be loaded. The models that are open go on."""
