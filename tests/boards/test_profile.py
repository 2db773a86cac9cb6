"""Board profiles: what is known, and that a slip in a file is seen."""

from pathlib import Path

import pytest

from rkface.boards.profile import find_profile, match_profile, profiles, read_profile, table
from rkface.convert.targets import TARGETS
from rkface.runtime.core.errors import InputError

ASKED = {
    "rock-5b", "rock-5a", "rock-5c", "orange-pi-5", "orange-pi-5-plus", "orange-pi-5-max", "nanopc-t6", "khadas-edge2",
    "rock-4d", "rock-3a", "rock-3c", "orange-pi-3b",
}  # fmt: skip


def test_every_board_is_one_that_convert_knows_a_chip_for():
    found = {profile.name: profile for profile in profiles()}
    assert set(found) >= ASKED
    assert {profile.soc for profile in profiles()} >= {"rk3588", "rk3576", "rk3568", "rk3566", "rk3562", "rv1126b"}
    for profile in profiles():
        assert profile.soc in TARGETS and profile.compatible and profile.sources, profile.name
        width, height = map(int, profile.chip.size.split("x"))
        assert width % 32 == height % 32 == 0
    names = [name for profile in profiles() for name in profile.compatible]
    assert len(names) == len(set(names)), "one name is one board"


def test_luckfox_only_converts():
    (luckfox,) = (profile for profile in profiles() if profile.soc == "rv1106")
    assert luckfox.cores == 0 and "convert only" in table()


def test_a_board_is_found_by_its_device_tree():
    assert match_profile("radxa,rock-5b\0rockchip,rk3588\0").name == "rock-5b"
    assert match_profile("someone,board rockchip,rk3588") is None
    assert match_profile("radxa,rock-5b rockchip,rk3399") is None, "another chip under the same name"


def test_the_nearest_name_is_suggested():
    assert find_profile("rock-5b").soc == "rk3588"
    with pytest.raises(InputError, match="did you mean rock-5b"):
        find_profile("rock5b")


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (("title =", "tittle ="), "unknown key 'tittle'"),
        (('title = "Radxa ROCK 5B"\n', ""), "title is missing"),
        (("width = 1280", 'width = "1280"'), "width = '1280' is of the wrong type"),
        (('soc = "rk3588"', 'soc = "rk9999"'), "soc = 'rk9999' is not in chips.toml"),
        (("title =", "title"), "is no TOML"),
    ],
)
def test_a_slip_in_a_file_is_refused(tmp_path, change, says):
    good = find_profile("rock-5b")
    import rkface.boards.profile as module

    text = (Path(module.__file__).parent / "profiles/rock-5b.toml").read_text(encoding="utf-8")
    assert change[0] in text
    (path := tmp_path / "rock-5b.toml").write_text(text.replace(*change, 1), encoding="utf-8")
    with pytest.raises(InputError, match=says):
        read_profile(path, {good.soc: good.chip})


def test_the_table_in_the_docs_is_this_one():
    page = Path(__file__).parents[2] / "docs/boards.md"
    assert table() in page.read_text(encoding="utf-8"), "python -m rkface.boards.profile prints it"
