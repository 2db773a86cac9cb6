"""The benchmark of a camera's CPU time goes through the stages of the service as they are now."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))  # the benchmarks are scripts

import camera_cpu


def test_every_stage_is_measured_also_with_the_console_open(tmp_path):
    video = tmp_path / "camera.mjpg"
    camera_cpu.write_jpegs(video, 6)
    spent = camera_cpu.measure_stages(lambda: camera_cpu.open_jpegs(video), 1, 6, watched=True, every=False)
    assert list(spent) == list(camera_cpu.STAGES) and all(spent.values())
