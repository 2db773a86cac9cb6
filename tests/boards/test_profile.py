"""Board profiles: their content, and that mistakes in a file are reported."""

from pathlib import Path

import pytest

from rkface.boards.profile import find_profile, markdown_table, match_profile, read_profile, read_profiles
from rkface.convert.targets import TARGETS
from rkface.runtime.core.errors import InputError

EXPECTED = {
    "rock-5b", "rock-5a", "rock-5c", "orange-pi-5", "orange-pi-5-plus", "orange-pi-5-max", "nanopc-t6", "khadas-edge2",
    "rock-4d", "rock-3a", "rock-3c", "orange-pi-3b",
}  # fmt: skip


def test_every_board_has_a_chip_that_convert_supports():
    found = {profile.name: profile for profile in read_profiles()}
    assert set(found) >= EXPECTED
    assert {profile.soc for profile in read_profiles()} >= {"rk3588", "rk3576", "rk3568", "rk3566", "rk3562", "rv1126b"}
    for profile in read_profiles():
        assert profile.soc in TARGETS and profile.compatible and profile.sources, profile.name
        width, height = map(int, profile.chip.size.split("x"))
        assert width % 32 == height % 32 == 0
    names = [name for profile in read_profiles() for name in profile.compatible]
    assert len(names) == len(set(names)), "a name belongs to one board"


def test_luckfox_can_only_be_converted_for():
    (luckfox,) = (profile for profile in read_profiles() if profile.soc == "rv1106")
    assert luckfox.cores == 0 and "convert only" in markdown_table()


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
        (("title =", "tittle ="), "unknown key tittle: did you mean title"),
        (('title = "Radxa ROCK 5B"\n', ""), "title is missing"),
        (("width = 1280", 'width = "1280"'), "camera.width is '1280', but must be a whole number"),
        (('soc = "rk3588"', 'soc = "rk9999"'), "soc is 'rk9999', but must be a chip of chips.toml"),
        (("title =", 'name = "other"\ntitle ='), "unknown key name"),
        (("title =", "title"), "not valid TOML"),
    ],
)
def test_a_mistake_in_a_file_is_refused(tmp_path, change, says):
    good = find_profile("rock-5b")
    import rkface.boards.profile as module

    text = (Path(module.__file__).parent / "profiles/rock-5b.toml").read_text(encoding="utf-8")
    assert change[0] in text
    (path := tmp_path / "rock-5b.toml").write_text(text.replace(*change, 1), encoding="utf-8")
    with pytest.raises(InputError, match=says):
        read_profile(path, {good.soc: good.chip})


def test_the_table_in_the_docs_is_up_to_date():
    page = Path(__file__).parents[2] / "docs/boards.md"
    assert markdown_table() in page.read_text(encoding="utf-8"), "python -m rkface.boards.profile prints it"
