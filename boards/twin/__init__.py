"""A stand-in board on the workstation: the genuine rknnlite under emulation, over our own librknnrt.

It tests bindings, struct layouts, types and error paths. It says nothing of speed, nor of what silicon computes.
"""

from pathlib import Path

HERE = Path(__file__).parent.resolve()
