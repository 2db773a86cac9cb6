"""The bytes of ONNX models: weights in other files belong to the model and to its digest, and stay in its folder."""

import hashlib

import numpy as np
import pytest

onnx = pytest.importorskip("onnx")

from onnx import TensorProto, helper, numpy_helper

from rkface.runtime.core.errors import ModelError
from rkface.runtime.core.onnx_file import onnx_digest, read_onnx_file


def model(seed=0):
    random = np.random.default_rng(seed)
    weights = numpy_helper.from_array(random.normal(size=(4, 3, 3, 3)).astype(np.float32), "w")
    constant = numpy_helper.from_array(random.normal(size=(1, 4, 1, 1)).astype(np.float32), "k")
    nodes = [
        helper.make_node("Constant", [], ["k"], value=constant),
        helper.make_node("Conv", ["x", "w"], ["c"]),
        helper.make_node("Mul", ["c", "k"], ["y"]),
    ]
    graph = helper.make_graph(
        nodes,
        "small",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 3, 8, 8])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        [weights],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)


def save_external(folder, proto, **options):
    folder.mkdir(exist_ok=True)
    path = folder / "m.onnx"
    options = {"location": "weights.data", "convert_attribute": True, **options}
    onnx.save(proto, path, save_as_external_data=True, size_threshold=0, **options)
    return path


def with_entry(path, **entries):
    """Write ``path`` again with other ``entries`` for the external data of its weights; None removes one."""
    proto = onnx.load(path, load_external_data=False)
    tensor = proto.graph.initializer[0]
    found = {one.key: one.value for one in tensor.external_data} | entries
    del tensor.external_data[:]
    for key, value in found.items():
        if value is not None:
            tensor.external_data.add(key=key, value=value)
    path.write_bytes(proto.SerializeToString())
    return path


def test_a_single_file_has_the_digest_of_the_file(tmp_path):
    onnx.save(model(), tmp_path / "m.onnx")
    data = (tmp_path / "m.onnx").read_bytes()
    found = read_onnx_file(tmp_path / "m.onnx")
    assert found.data == data and found.files == (tmp_path / "m.onnx",)
    assert onnx_digest(tmp_path / "m.onnx") == hashlib.sha256(data).hexdigest()


def test_other_weights_in_other_files_are_another_model(tmp_path):
    one, other = (save_external(tmp_path / name, model(seed)) for name, seed in (("a", 1), ("b", 2)))
    assert one.read_bytes() == other.read_bytes()
    assert onnx_digest(one) != onnx_digest(other)


@pytest.mark.parametrize("single", [True, False])
def test_moving_the_weights_out_leaves_the_same_model(tmp_path, single):
    onnx.save(model(), tmp_path / "inside.onnx")
    options = {} if single else {"all_tensors_to_one_file": False}
    outside = save_external(tmp_path / "outside", model(), **options)
    found = read_onnx_file(outside)
    assert found.data == (tmp_path / "inside.onnx").read_bytes()
    assert onnx_digest(outside) == onnx_digest(tmp_path / "inside.onnx")
    assert found.files[0] == outside and len(found.files) == (2 if single else 3)


def test_external_data_outside_of_the_folder_is_refused(tmp_path):
    secret = tmp_path / "secret"
    secret.write_bytes(bytes(10_000))
    path = save_external(tmp_path / "m", model())
    (tmp_path / "m" / "link").symlink_to(secret)
    (tmp_path / "m" / "loop").symlink_to("loop")
    for location in ("../secret", str(secret), "link", "x/../../secret", "loop"):
        with pytest.raises(ModelError, match="outside the model's folder") as caught:
            read_onnx_file(with_entry(path, location=location))
        assert str(path) in str(caught.value)


@pytest.mark.parametrize(
    ("entries", "says"),
    [
        ({"location": None}, "does not name it"),
        ({"location": "a\0b"}, "does not name it"),
        ({"location": "absent.data"}, "absent.data is missing"),
        ({"location": "."}, "is missing"),
        ({"location": "long" * 100}, "is missing"),
        ({"offset": "99999"}, "the file is too short"),
        ({"length": "99999"}, "the file is too short"),
        ({"offset": "-1"}, "offset of its external data is '-1'"),
        ({"length": "9" * 400}, "length of its external data is '9999"),
        ({"length": "x"}, "length of its external data is 'x'"),
    ],
)
def test_external_data_that_cannot_be_right_is_refused(tmp_path, entries, says):
    path = with_entry(save_external(tmp_path / "m", model()), **entries)
    with pytest.raises(ModelError, match=says) as caught:
        read_onnx_file(path)
    assert str(path) in str(caught.value) and "'w'" in str(caught.value) and len(str(caught.value)) < 600


def test_other_files_are_refused(tmp_path):
    path = tmp_path / "m.onnx"
    data = model().SerializeToString()
    for content, says in (
        (b"", "the file is empty"),
        (b"hello, this is text", "not an ONNX model"),
        (data[:-40], "truncated"),
        (b"\x08\x08", "has no graph"),
        (b"\xff" * 40, "not an ONNX model"),
        (b"\x3a\xff\xff\xff\xff\x7f", "ends too early"),
        (b"\x38\x01", "not a message"),
    ):
        path.write_bytes(content)
        with pytest.raises(ModelError, match=says) as caught:
            read_onnx_file(path)
        assert str(path) in str(caught.value)
    with pytest.raises(ModelError, match="Is a directory"):
        read_onnx_file(tmp_path)
    with pytest.raises(ModelError, match="not a regular file"):
        read_onnx_file(type(path)("/dev/zero"))
    with pytest.raises(ModelError, match="no such model file"):
        read_onnx_file(tmp_path / "absent.onnx")


def test_a_model_of_countless_parts_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr("rkface.runtime.core.onnx_file.MAX_PARTS", 1000)
    path = tmp_path / "m.onnx"
    nodes = b"\x0a\x00" * 2000
    path.write_bytes(b"\x3a" + bytes([0x80 | len(nodes) & 0x7F, len(nodes) >> 7]) + nodes)
    with pytest.raises(ModelError, match="more than 1,000 nodes"):
        read_onnx_file(path)
