"""Which ranges of a recognizer can be larger, and that it costs as little as predicted."""

import numpy as np
import onnx
import pytest
import torch

from rkface.convert.demo.identity import EVALUATE
from rkface.convert.demo.render import render_crop
from rkface.convert.packs.pack import DEMO
from rkface.convert.tuning.distill.graph import read_graph
from rkface.convert.tuning.distill.train import to_tensor
from rkface.convert.tuning.room import BUDGET, FACES, MOST, RoundedTensor, find_room, measure_sensitivity
from rkface.runtime.core.manifest import Input

INPUT = Input(name="input.1", height=112, width=112, mean=(127.5,) * 3, std=(127.5,) * 3, source_order="RGB")


def rounded(*names, sensitivity, top=np.inf):
    return RoundedTensor(names, np.array([sensitivity]), top)


def cost(tensor, ranges, factor=1.0):
    low, high = ranges[tensor.names[0]]
    return tensor.sensitivity * (factor * (high - low) / 255) ** 2 / 12


def test_the_room_goes_where_it_is_cheap_and_the_error_grows_by_the_budget_at_most():
    random = np.random.default_rng(0)
    tensors = [rounded(f"t{at}", f"same{at}", sensitivity=10.0**-at) for at in range(6)]
    ranges = {f"t{at}": (-random.uniform(0, 1), random.uniform(2, 5)) for at in range(6)}
    room = find_room(tensors, ranges)
    assert all(1 < factor <= MOST for factor in room.values())
    assert {name.removeprefix("same") for name in room if name.startswith("same")} == {
        name.removeprefix("t") for name in room if name.startswith("t")
    }, "tensors that share a range get the same factor"
    factors = [room.get(one.names[0], 1.0) for one in tensors]
    assert factors == sorted(factors) and factors[0] == 1.0 and factors[-1] == MOST
    before = sum(cost(one, ranges) for one in tensors)
    after = sum(cost(one, ranges, factor) for one, factor in zip(tensors, factors, strict=True))
    assert before < after <= before * (1 + BUDGET) * 1.001


def test_no_range_reaches_beyond_the_limit_of_a_clip():
    tensors = [rounded("loud", sensitivity=1.0), rounded("quiet", sensitivity=1e-9, top=6.0)]
    assert find_room(tensors, {"loud": (0.0, 4.0), "quiet": (0.0, 5.0)})["quiet"] == pytest.approx(1.2)
    assert "quiet" not in find_room(tensors, {"loud": (0.0, 4.0), "quiet": (0.0, 6.0)})


@pytest.mark.parametrize("sensitivity", [float("nan"), float("inf")])
def test_without_a_finite_sensitivity_ranges_stay(sensitivity):
    tensors = [rounded("good", sensitivity=1.0), rounded("bad", sensitivity=sensitivity)]
    assert find_room(tensors, {"good": (0.0, 4.0), "bad": (0.0, 5.0)}) == {}


def test_the_predicted_error_is_that_of_noise_in_the_tensor():
    """Noise in one tensor at a time, of the variance that rounding has. The prediction is a first-order estimate with
    two random vectors for each face: within a factor of two, where tensors differ by more than ten."""
    proto = onnx.load(str(DEMO / "recognizer.onnx"))
    faces = np.stack([render_crop(40 + at, EVALUATE[at])[..., ::-1] for at in range(FACES)])
    tensors = measure_sensitivity(proto, INPUT, faces)
    assert max(one.sensitivity for one in tensors) > 10 * min(one.sensitivity for one in tensors)
    graph, images, random = read_graph(proto), to_tensor(faces, INPUT), torch.Generator().manual_seed(1)
    clean = graph.run(images, graph.constants)[graph.output]
    for tensor in tensors[:: len(tensors) // 5]:
        deviation = (1e-4 / tensor.sensitivity) ** 0.5  # of noise that should cost 1e-4

        def disturb(name, values, tensor=tensor, deviation=deviation):
            if name not in tensor.names[:1]:
                return values
            return values + (values != 0) * deviation * torch.randn(values.shape, generator=random)

        noisy = graph.run(images, graph.constants, disturb)[graph.output]
        error = 1 - torch.nn.functional.cosine_similarity(clean, noisy).mean()
        assert 0.5e-4 < float(error) < 2e-4, tensor.names
