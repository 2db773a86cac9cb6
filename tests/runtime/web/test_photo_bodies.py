"""Bodies with photos: what they contain, and that no body of a client takes much time, memory or log."""

import logging

import pytest
from fastapi import HTTPException

from rkface.runtime.web.photo_bodies import MOST_PARTS, MOST_VALUES, read_photos

FORM = "multipart/form-data; boundary=b"


def part(head, content=b"x"):
    return b"--b\r\nContent-Disposition: form-data; " + head + b"\r\n\r\n" + content + b"\r\n"


def refusal(body, kind):
    with pytest.raises(HTTPException) as refused:
        read_photos(body, kind, ("photo",))
    return refused.value.detail


def test_a_form_may_have_as_many_parts_as_browsers_send():
    photo = part(b'name="photo"; filename="x"', b"a photo")
    body = part(b'name="other"') * (MOST_PARTS - 1) + photo + b"--b--\r\n"
    assert read_photos(body, FORM, ("photo",)) == [b"a photo"]


@pytest.mark.parametrize("head", [b'name="photo"', b'name="photo"; filename="x"', b'name="a"; filename="x"'])
def test_a_form_with_many_parts_is_refused_whatever_they_are_called(head):
    assert "more than" in refusal(part(head) * (MOST_PARTS + 1) + b"--b--\r\n", FORM)


@pytest.mark.parametrize("kind", ["multipart/form-data", "multipart/form-data; boundary="])
def test_a_form_without_a_boundary_is_refused(kind):
    assert "no boundary" in refusal(part(b'name="photo"; filename="x"').replace(b"--b", b"--") + b"----", kind)


@pytest.mark.parametrize("value", [b"{},", b"[],", b"0,", b"[", b'{"a":'])
def test_json_with_many_values_is_not_even_parsed(value):
    body = b'{"photo": "AAAA", "more": [' + value * (MOST_VALUES + 1) + b"0]}"
    assert "values" in refusal(body, "application/json")
    assert read_photos(b'{"photo": "AAAA", "more": [1, {}]}', "application/json", ("photo",)) == [bytes(3)]


def test_a_wrong_form_writes_nothing_to_the_log(caplog):
    with caplog.at_level(logging.DEBUG):
        assert "form" in refusal(b"x", FORM)
    assert not caplog.records
