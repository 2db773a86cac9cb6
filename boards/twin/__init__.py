"""The twin: an emulated board on the workstation, with the real rknn-toolkit-lite2 over a stand-in for librknnrt.

It tests the binding, struct layouts, types and error paths, and answers with what the toolkit's simulator computes: for
golden inputs, or for any while a simulator runs. It measures no speed, and it cannot tell what a real NPU computes.
"""

from pathlib import Path

HERE = Path(__file__).parent.resolve()
