"""The problems that health shows."""

from rkface.runtime.service.problems import Problems


def test_what_several_parts_say_is_shown_once_and_until_the_last_of_them_works():
    problems = Problems()
    for part in ("gallery", "alert pictures"):
        problems.note(part, "the disk is full")
    problems.note("settings", "cannot be written")
    assert list(problems) == ["the disk is full", "cannot be written"]
    problems.clear("gallery")
    assert list(problems) == ["the disk is full", "cannot be written"]
    problems.clear("alert pictures")
    assert list(problems) == ["cannot be written"]
