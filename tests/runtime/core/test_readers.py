"""Readers of text from outside give a value or one of our errors, whatever they read."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rkface.runtime.cli.main import main
from rkface.runtime.core.bundle import read_bundle
from rkface.runtime.core.errors import BundleError, RkfaceError
from rkface.runtime.core.files import parse_json
from rkface.runtime.core.text import find_hidden
from rkface.runtime.service.config import check_settings, read_settings

HUGE = "9" * 400
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8) | st.just(int(HUGE)),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=8,
)


def check(tmp_path, content):
    path = tmp_path / "rkface.toml"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return check_settings(path)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (f"cores = {HUGE}", "cores is 9999"),
        (f"[keep]\nappearances = {HUGE}", "from 0 to 3650"),
        (f"cores = {'9' * 5000}", "not valid TOML"),
        (f"cores = 0x{'f' * 5000}", "very large"),
        ("[camera.door]\nsource = '0'\nrate = 1e999", "from 0.1 to 1000"),
        ("a = " + "[" * 20_000, "nested too deeply"),
        ("a" + ".a" * 2_000 + " = 1", "rkface.toml"),  # tomllib's time grows with the square of this
        ('bundle = "a\\u0000b"', "NUL"),
        (b"\xff\xfea\0", "not UTF-8"),
        ('[events.webhook]\nurl = "http://["', "events.webhook.url"),
        ('[events.webhook]\nurl = "https://host:99999/x"', "events.webhook.url"),
        ('[events.webhook]\nurl = "https://me:S3cret/x@host"', "events.webhook.url"),
        ('[events.mqtt]\nhost = "mqtt://me:S3cret@host:1883"', "events.mqtt.host"),
        ('[camera.door]\nsource = "rtsp://["', "camera.door.source"),
        ('[camera.door]\nsource = "rtsp://admin:S3cr/et@host/live"', "percent-encode # / ? in passwords"),
        ('[camera."\\u001b[2J"]\nsource = "0"', "visible"),
        ("backend = 'rtsp://me:S3cret@host'", "backend is"),
        ("\n".join(f"unknown{number} = 1" for number in range(5000)), "rkface.toml"),
    ],
)
def test_a_configuration_that_cannot_be_used_is_refused_by_config_check(tmp_path, content, said):
    loaded, problems = check(tmp_path, content)
    assert loaded is None and any(said in problem for problem in problems)
    assert not any("S3cr" in problem or find_hidden(problem.replace("\n", "")) for problem in problems)
    with pytest.raises(RkfaceError) as error:
        read_settings(tmp_path / "rkface.toml")
    assert len(str(error.value)) < 10_000


def test_a_byte_order_mark_before_a_configuration_is_allowed(tmp_path):
    assert check(tmp_path, b"\xef\xbb\xbfcores = 2\r\n")[1] == []


def test_config_show_shows_no_password(tmp_path, capsys):
    path = tmp_path / "rkface.toml"
    path.write_text(
        '[camera.door]\nsource = "rtsp://admin:S3cret@10.0.0.2/live"\n'
        '[events.webhook]\nurl = "https://hooks.example/services/T0/B0/abcDEF123ghiJKL456S3cret"\n'
    )
    for options in ([], ["--json"]):
        assert main(["config", "show", str(path), *options]) == 0
        out, err = capsys.readouterr()
        assert "S3cret" not in out and "rtsp://10.0.0.2/live" in out and "--with-secrets" in err
        assert main(["config", "show", str(path), "--with-secrets", *options]) == 0
        assert capsys.readouterr()[0].count("S3cret") == 2


def test_errors_of_commands_are_safe_to_print(tmp_path, capsys):
    path = tmp_path / "\x1b[2Ja\u202eb.toml"
    assert main(["config", "show", str(path)]) == 2
    assert find_hidden(capsys.readouterr().err.replace("\n", "")) is None
    assert main(["config", "check", str(tmp_path / "rtsp:/me:S3cret@host"), "--json"]) == 2
    out, err = capsys.readouterr()
    assert "S3cret" not in err and json.loads(out)["valid"] is False


@settings(deadline=None, derandomize=True)
@given(st.binary() | st.text().map(str.encode) | values.map(lambda value: json.dumps(value).encode()))
def test_whatever_json_is_it_becomes_a_value_that_can_be_written_or_an_error(data):
    try:
        value = parse_json(data)
    except ValueError:
        return
    assert json.dumps(value, ensure_ascii=False).encode()


def replaced(tree, path, value):
    """A copy of ``tree`` with ``value`` at ``path``; without that key if ``value`` is ..."""
    if not path:
        return value
    first, *rest = path
    copy = tree.copy()
    if value is ... and not rest:
        del copy[first]
    else:
        copy[first] = replaced(tree[first], rest, value)
    return copy


def places(tree, path=()):
    """The paths to everything in ``tree``."""
    yield path
    pairs = tree.items() if isinstance(tree, dict) else enumerate(tree) if isinstance(tree, list) else ()
    for key, inner in pairs:
        yield from places(inner, (*path, key))


@pytest.mark.slow
@settings(deadline=None, derandomize=True, max_examples=200)
@given(data=st.data())
def test_whatever_a_manifest_says_the_bundle_is_read_or_refused(bundle, tmp_path_factory, data):
    from rkface.runtime.core.manifest_reader import parse_manifest

    manifest = json.loads((bundle / "manifest.json").read_text())
    path = data.draw(st.sampled_from([place for place in places(manifest) if place]))
    odd = st.sampled_from(
        ["../../etc/passwd", "/etc/passwd", "", "a\0b", "\x1b[2J", -1, 0, 10**400, 1e308, [], {}, ...]
    )
    folder = tmp_path_factory.mktemp("bundle")
    (folder / "manifest.json").write_text(json.dumps(replaced(manifest, path, data.draw(odd | values))))
    try:
        read = parse_manifest(folder)
    except BundleError as error:
        assert len(str(error)) < 1000
        return
    for role in read.roles:
        model = read.model(role)
        assert (
            ".." not in model.file and not model.file.startswith("/") and min(model.input.height, model.input.width) > 0
        )


@pytest.mark.parametrize(
    "sums",
    [
        b"\xff",
        b"abc",
        b"0" * 64 + b"  ../x\n",
        b"0" * 64 + b"  /etc/passwd\n",
        b"0" * 64 + b"  a\x1b[2J\n",
        b"x" * 2_000_000,
    ],
)
def test_checksums_that_cannot_be_used_are_refused(bundle, tmp_path, sums):
    for file in bundle.iterdir():
        if file.is_file():
            (tmp_path / file.name).write_bytes(file.read_bytes())
    (tmp_path / "SHA256SUMS").write_bytes(sums)
    with pytest.raises(BundleError) as error:
        read_bundle(tmp_path)
    assert find_hidden(str(error.value)) is None and len(str(error.value)) < 1000
