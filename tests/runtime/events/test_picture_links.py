"""Links to pictures of alerts: what was made is valid until it expires, and nothing else is."""

from urllib.parse import parse_qs, urlsplit

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rkface.runtime.events.picture_links import PATH, PictureLinks, sign_link

NOW = 1_780_000_000.0


def links(key=b"k" * 32, address="https://board.example/", now=NOW):
    return PictureLinks(key, address, 3600.0, wall=lambda: now)


def parts(described):
    url = urlsplit(described["url"])
    query = parse_qs(url.query, strict_parsing=True)
    return url.path.removeprefix(PATH), int(query["expires"][0]), query["signature"][0]


def test_a_link_is_valid_until_it_expires():
    described = links().describe("abc123")
    assert described["url"].startswith(f"https://board.example{PATH}abc123?expires=1780003600&signature=")
    assert described["expires"] == 1_780_003_600
    assert links().is_valid(*parts(described))
    assert links(now=NOW + 3599).is_valid(*parts(described))
    assert not links(now=NOW + 3600).is_valid(*parts(described))


def test_a_changed_link_and_one_of_another_gallery_are_not_valid():
    id, expires, signature = parts(links().describe("abc123"))
    assert not links().is_valid("abc124", expires, signature)
    assert not links().is_valid(id, expires + 1, signature)
    assert not links().is_valid(id, expires, signature[:-1] + ("A" if signature[-1] != "A" else "B"))
    assert not links(key=b"x" * 32).is_valid(id, expires, signature)
    assert links(address="https://proxy.example").is_valid(id, expires, signature)


def test_no_link_lasts_longer_than_pictures_do():
    """Such as one that was made while the clock was ahead."""
    far = int(NOW + 10**6)
    assert not links().is_valid("abc123", far, sign_link(b"k" * 32, "abc123", far))


@settings(max_examples=30, deadline=None)
@given(st.text(max_size=50), st.integers(), st.text(max_size=50))
def test_whatever_is_asked_is_an_answer(id, expires, signature):
    assert links().is_valid(id, expires, signature) is False


def test_the_secret_is_not_shown():
    assert "kkk" not in repr(links())


@pytest.mark.parametrize("address", ["http://[fd00::1]:8080/", "https://faces.example/rkface"])
def test_addresses_with_ports_and_paths(address):
    assert links(address=address).describe("a")["url"].startswith(f"{address.rstrip('/')}{PATH}a?")
