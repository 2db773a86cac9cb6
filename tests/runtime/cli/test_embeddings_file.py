"""``rkface embed --out``: a private file, and an interrupted run that goes on where it ended."""

import json
import os
import resource
import stat

import pytest

from rkface.runtime.cli.main import main


@pytest.fixture
def embed(bundle, photo, tmp_path, capsys):
    """Runs ``rkface embed`` on three photos into a file. Returns exit code, stderr and the lines of the file."""
    photos = [photo(f"{number}.png", (number, 2)) for number in (1, 3, 5)]
    out = tmp_path / "embeddings.jsonl"

    def run(*more):
        code = main(["embed", "--bundle", str(bundle), *map(str, photos), "--out", str(out), *more])
        said, err = capsys.readouterr()
        assert said == ""
        return code, err, out.read_bytes().splitlines(keepends=True)

    run.out = out
    return run


def test_the_lines_of_json_are_in_a_private_file(embed):
    code, err, lines = embed()
    assert (code, err) == (0, "") and stat.S_IMODE(embed.out.stat().st_mode) == 0o600
    said = [json.loads(line) for line in lines]
    assert [one["image"][-5:] for one in said] == ["1.png", "3.png", "5.png"]
    assert all(len(one["model"]) == 32 and len(one["faces"][0]["embedding"]) == 8 for one in said)


@pytest.mark.parametrize("kept", [0, 1, 40])  # bytes of the line that the kill interrupted
def test_an_interrupted_run_goes_on_where_it_ended(embed, kept):
    complete = embed()[2]
    embed.out.write_bytes(complete[0] + complete[1][:kept])
    code, err, lines = embed("--resume")
    assert (code, err) == (0, "rkface: 1 of 3 photos are skipped: they are in the file already\n")
    assert lines == complete


def test_a_file_that_exists_is_not_overwritten(embed):
    complete = embed()[2]
    code, err, lines = embed()
    assert code == 2 and "exists: use --resume" in err and lines == complete


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"photo,face\n", "line 1 was not written by"),
        (b'{"image": 3, "model": "x"}\n', "line 1 was not written by"),
        (b"[]\n", "line 1 was not written by"),
        (b"[" * 100_000 + b"\n", "line 1 was not written by"),
        (b'\xff{"image"}\n', "line 1 was not written by"),
        (b'{"image": "a.jpg", "model": "of another bundle"}\n', "embeddings of another model"),
    ],
)
def test_another_file_is_refused_and_stays_as_it_is(embed, content, says):
    embed.out.write_bytes(content)
    code, err, lines = embed("--resume")
    assert code == 2 and says in err and err.count("\n") == 1 and b"".join(lines) == content


def test_a_full_disk_is_an_error_and_the_run_can_go_on(embed):
    complete = embed()[2]
    embed.out.write_bytes(complete[0])
    old = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (len(complete[0]) + 50, old[1]))
    try:
        code, err, lines = embed("--resume")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, old)
    assert code == 1 and "cannot be written" in err and lines[0] == complete[0]
    assert embed("--resume")[2] == complete


def test_a_file_name_with_invalid_utf8_is_in_the_file_and_found_again(bundle, photo, tmp_path, capsys):
    out, odd = tmp_path / "out.jsonl", os.fsdecode(os.fsencode(tmp_path) + b"/f\xff\xc3\xbcr.png")
    photo("plain.png", (3, 4)).rename(odd)
    command = ["embed", "--bundle", str(bundle), odd, "--out", str(out)]
    assert main(command) == 0
    assert json.loads(out.read_text(encoding="utf-8"))["image"] == odd
    assert main([*command, "--resume"]) == 0 and "1 of 1 photos are skipped" in capsys.readouterr().err
    assert out.read_bytes().count(b"\n") == 1


def test_resume_needs_a_file(bundle, photo, capsys):
    assert main(["embed", "--bundle", str(bundle), str(photo("a.png", (1, 1))), "--resume"]) == 2
    assert "name it with --out" in capsys.readouterr().err
