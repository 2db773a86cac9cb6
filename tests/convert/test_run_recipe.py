"""What decides whether an earlier result of a recipe still counts."""

import ast
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pytest

from rkface import convert
from rkface.convert import run_recipe
from rkface.convert.run_recipe import CODE, RecipeRunner
from rkface.runtime.core.errors import WorkError
from rkface.runtime.core.manifest import Input

FOLDER = Path(convert.__file__).parent
NEUTRAL = {"tuning/__init__.py", "tuning/distill/__init__.py", "tuning/distill/checkpoint.py"}  # change no result


def test_all_code_that_tuning_imports_counts():
    files = {path.relative_to(FOLDER).as_posix() for path in (FOLDER / "tuning").rglob("*.py")}
    for name in [*files]:
        for node in ast.walk(ast.parse((FOLDER / name).read_text())):
            if isinstance(node, ast.ImportFrom) and node.level:
                module = (FOLDER / name).parents[node.level - 1] / f"{node.module.replace('.', '/')}.py"
                files.add(module.relative_to(FOLDER).as_posix())
    assert files - NEUTRAL <= set(CODE)


def test_an_unfinished_distillation_continues_only_with_the_same_normalization_and_torch(tmp_path, monkeypatch):
    cv2.imwrite(str(tmp_path / "0000.png"), np.zeros((8, 8, 3), np.uint8))
    (dataset := tmp_path / "dataset.txt").write_text("0000.png\n")
    (model := tmp_path / "model.onnx").write_bytes(b"model")

    def distill(job, role, source):
        raise WorkError(job.key)

    monkeypatch.setattr(run_recipe, "run_distillation", distill)
    monkeypatch.setattr(run_recipe, "distill_start", lambda job, tuned: None)
    monkeypatch.setattr(RecipeRunner, "_tune", lambda *_: SimpleNamespace(corrected={}))
    monkeypatch.setattr(RecipeRunner, "_with_tuning", lambda *_: None)

    def key(input):
        prepared = SimpleNamespace(
            input=input, simplified=SimpleNamespace(path=model), fixed=SimpleNamespace(name="model.onnx")
        )
        runner = RecipeRunner({"recognizer": prepared}, None, tmp_path, tmp_path, analyze=False)
        with pytest.raises(WorkError) as caught:
            runner._distill_and_quantize(None, "recognizer", dataset, None)
        return str(caught.value)

    usual = Input("x", 8, 8, (127.5,) * 3, (127.5,) * 3)
    before = key(usual)
    assert key(usual) == before != key(replace(usual, std=(128.0,) * 3))
    real = run_recipe.version
    monkeypatch.setattr(run_recipe, "version", lambda name: "0" if name == "torch" else real(name))
    assert key(usual) != before
