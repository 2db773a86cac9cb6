"""Debug builds of made-up bundles."""

import re

import numpy as np

from rkface.runtime.core.bundle import SUMS, sha256
from rkface.runtime.core.debug_build import LAYERS, DebugModel, LayerOutput, default_folder, to_json
from rkface.runtime.core.manifest import ROLES, contract

# The inner tensors in order of execution: name, number of the layer, recipe that keeps it in FP16.
INNER = (("stem", 1, "hybrid7"), ("block1", 4, ""), ("half", 5, ""), ("block2", 8, ""), ("neck", 9, "hybrid3"))
FLOATS = {"half"}
SHAPE = (1, 4, 6, 6)
LAYERS_OF_MODEL = 20


def make_debug_build(bundle, write_rknn, golden_outputs, cosine=1.0):
    """Write the debug build of ``bundle`` beside it. The two functions are those that made the bundle."""
    folder = default_folder(bundle.folder)
    folder.mkdir()
    rng, golden, models = np.random.default_rng(8), {}, {}
    ranges = {name: (-2.0, 3.0) for name, *_ in INNER if name not in FLOATS}
    with np.load(bundle.folder / "golden.npz") as shipped:
        for role in ROLES:
            model = bundle.model(role)
            golden[f"{role}/inputs"] = shipped[f"{role}/inputs"][:2]
            inner = golden_outputs(rng, {name: SHAPE[1:] for name, *_ in INNER}, ranges, 2)
            for source, arrays in zip(("reference", "simulator"), inner, strict=True):
                golden |= {f"{role}/{source}/{name}": array for name, array in arrays.items()}
                for output in model.outputs:
                    golden[f"{role}/{source}/{output.name}"] = shipped[f"{role}/{source}/{output.name}"][:2]
            crop = (model.crop, model.center) if role == "recognizer" else ()
            text = contract(role, model.input, "0" * 64, *crop)
            write_rknn(folder / f"{role}.rknn", {**ranges, **_ranges(bundle.path(role))}, text)
            outputs = (*map(_own_output, model.outputs), *(_inner_output(*one) for one in INNER))
            models[role] = DebugModel(f"{role}.rknn", sha256(bundle.path(role)), LAYERS_OF_MODEL, cosine, outputs)
    np.savez(folder / "golden.npz", **golden)
    (folder / LAYERS).write_text(to_json(models))
    sign(folder)
    return folder


def sign(folder):
    """Write SHA256SUMS."""
    names = sorted(path.name for path in folder.iterdir() if path.name != SUMS)
    (folder / SUMS).write_text("".join(f"{sha256(folder / name)}  {name}\n" for name in names))


def _own_output(output):
    return LayerOutput(output.name, "Conv", LAYERS_OF_MODEL, output.shape, (f"Conv {output.name}",), ("neck",))


def _inner_output(name, number, recipe):
    return LayerOutput(name, "Conv+Add", number, SHAPE, (f"Conv+PRelu {name}_1", f"Conv+Add {name}"), ("data",), recipe)


def _ranges(path):
    """The ranges of the outputs in a made-up ``.rknn``."""
    text = path.read_bytes().decode("latin1")
    found = re.findall(r"'name': '(\w+)', [^}]*'min': \[([^]]+)\], 'max': \[([^]]+)\]", text)
    return {name: (float(low), float(high)) for name, low, high in found}
