"""What somebody changes at a door reaches the hub and the other doors, and is not undone."""

from threading import Thread

import pytest

from rkface.runtime.cli.main import main
from rkface.runtime.gallery.backup import back_up, forget, forgotten
from rkface.runtime.gallery.groups import add_to_group, list_groups, rename_group, set_groups
from rkface.runtime.hub.boards import add_site
from rkface.runtime.hub.conflicts import decide_name, list_conflicts
from rkface.runtime.hub.connection import connect
from rkface.runtime.hub.people import add_person, erase_person, list_erased, move_person
from rkface.runtime.hub.pull import sync
from rkface.runtime.hub.push import must_push, push_people

from .conftest import ONE, sample


def exchange(*boards):
    """Each board tells the hub what it changed, and hears what the others changed."""
    for _ in range(2):
        for own, gallery in boards:
            if must_push(own, gallery):
                push_people(own, gallery)
            sync(own, gallery)


def hub_address(hub):
    return hub.info.dsn


def content(gallery):
    return {one.name: {found.source for found in gallery.samples(one)} for one in gallery.people()}


def hub_content(hub):
    rows = hub.execute("SELECT name, array_remove(array_agg(source), NULL) FROM rkface.person "
                       "LEFT JOIN rkface.sample ON person = person.id GROUP BY name").fetchall()  # fmt: skip
    return {name: set(sources) for name, sources in rows}


@pytest.fixture
def doors(hub, board):
    """Two doors of a site that know Ada with two photos, and Bob."""
    add_site(hub, "west")
    with board("door-1", "east") as one, board("door-2", "east") as two:
        for name, numbers in (("Ada", (1, 2)), ("Bob", (3,))):
            add_person(hub, name, ["east"], [sample(number) for number in numbers], ONE)
        exchange(one, two)
        yield one, two


def photos(*numbers):
    return {f"photo-{number}.jpg" for number in numbers}


def check(hub, doors, expected):
    exchange(*doors)
    assert [content(gallery) for _, gallery in doors] == [expected, expected]
    assert hub_content(hub) == expected


def test_a_new_name_reaches_the_other_doors(hub, doors):
    (_, one), _ = doors
    one.rename(one.person("Ada"), "Ada Lovelace")
    check(hub, doors, {"Ada Lovelace": photos(1, 2), "Bob": photos(3)})


def test_a_name_that_the_hub_changed_meanwhile_wins(hub, doors):
    (_, one), _ = doors
    one.rename(one.person("Ada"), "Ada L.")
    hub.execute("UPDATE rkface.person SET name = 'Ada Lovelace' WHERE name = 'Ada'")
    check(hub, doors, {"Ada Lovelace": photos(1, 2), "Bob": photos(3)})


def test_a_photo_that_was_removed_at_a_door_is_removed_everywhere(hub, doors):
    (_, one), _ = doors
    ada = one.person("Ada")
    one.remove_samples(ada, [one.samples(ada)[0].id])
    check(hub, doors, {"Ada": photos(2), "Bob": photos(3)})


def test_a_photo_that_was_removed_and_one_that_was_added_both_count(hub, doors):
    (_, one), _ = doors
    ada = one.person("Ada")
    one.remove_samples(ada, [one.samples(ada)[0].id])
    one.add("Ada", [sample(4)])
    check(hub, doors, {"Ada": photos(2, 4), "Bob": photos(3)})


def test_people_who_were_merged_at_a_door_are_one_everywhere(hub, doors):
    (_, one), (_, two) = doors
    bob = one.person("Bob").id
    one.merge(one.person("Bob"), one.person("Ada"))
    two.add("Bob", [sample(5)])  # a door that was away adds a photo to the person before
    check(hub, doors, {"Ada": photos(1, 2, 3, 5)})
    assert not forgotten(two) and hub.execute("SELECT target FROM rkface.merged WHERE person = %s", [bob]).fetchone()


def test_who_is_erased_after_a_merge_is_gone_under_both_ids_also_from_backups(hub, doors):
    (_, one), (_, two) = doors
    copy = back_up(two)
    ada, bob = one.person("Ada").id, one.person("Bob").id
    one.merge(one.person("Bob"), one.person("Ada"))
    exchange(*doors)
    erase_person(hub, ada)
    check(hub, doors, {})
    assert {ada, bob} <= forgotten(two).keys()
    for number in (1, 2, 3):
        assert sample(number).embedding.tobytes() not in copy.read_bytes()
    assert all(not one.missing for one in list_erased(hub))


def test_who_is_forgotten_at_a_door_that_did_not_hear_of_the_merge_is_gone(hub, doors):
    (_, one), (_, two) = doors
    one.merge(one.person("Bob"), one.person("Ada"))
    push_people(*doors[0])
    forget(two, two.person("Bob"))
    check(hub, doors, {})


def test_who_is_erased_at_the_hub_before_it_heard_of_a_merge_is_gone_with_the_other(hub, doors):
    (_, one), _ = doors
    bob = one.person("Bob").id
    one.merge(one.person("Bob"), one.person("Ada"))
    erase_person(hub, bob)
    told = []
    sync(*doors[0], before=lambda person: told.append(person.name))
    assert told == ["Ada"]  # while the samples are still there
    check(hub, doors, {})


def test_who_is_known_only_elsewhere_after_a_restore_is_not_known_here(hub, doors):
    """The backup is from before Bob was put at this site, and another site has enrolled Bob again."""
    (_, one), _ = doors
    bob = one.person("Bob").id
    move_person(hub, bob, ["west"])
    hub.execute("DELETE FROM rkface.change WHERE person = %s AND site = 'east'", [bob])
    for own, gallery in doors:
        push_people(own, gallery)
    exchange(*doors)
    assert [content(gallery) for _, gallery in doors] == [{"Ada": photos(1, 2)}] * 2
    assert hub_content(hub) == {"Ada": photos(1, 2), "Bob": photos(3)}


def test_a_name_that_waits_for_a_decision_is_gone_with_its_person(hub, doors):
    (_, one), (_, two) = doors
    add_person(hub, "Zoe", ["west"], [], ONE)
    one.rename(one.person("Bob"), "Zoe")
    push_people(*doors[0])
    assert [conflict.name for conflict in list_conflicts(hub)] == ["Zoe"]
    forget(two, two.person("Bob"))
    exchange(*doors)
    assert [content(gallery) for _, gallery in doors] == [{"Ada": photos(1, 2)}] * 2
    assert hub.execute("SELECT count(*) FROM rkface.review").fetchone() == (0,)


def test_nothing_waits_for_a_decision_about_somebody_who_is_erased_meanwhile(hub, doors, database):
    (own, one), _ = doors
    add_person(hub, "Zoe", ["west"], [], ONE)
    bob = one.person("Bob").id
    with connect(database) as other, other.transaction():
        other.execute("DELETE FROM rkface.person WHERE id = %s", [bob])
        asking = Thread(target=own.execute, args=["SELECT rkface.rename(%s, 'Bob', 'Zoe')", [bob]])
        asking.start()
        waiting = "SELECT count(*) FROM pg_locks WHERE NOT granted"
        while asking.is_alive() and hub.execute(waiting).fetchone() == (0,):
            pass
    asking.join()
    assert hub.execute("SELECT count(*) FROM rkface.review").fetchone() == (0,)


def test_who_was_merged_into_somebody_erased_at_the_hub_meanwhile_is_gone_too(hub, doors):
    """They are one person, as the door says, although the hub had not heard of it when somebody erased the other."""
    (_, one), _ = doors
    ada = one.person("Ada").id
    one.merge(one.person("Bob"), one.person("Ada"))
    erase_person(hub, ada)
    check(hub, doors, {})


def test_who_was_merged_into_somebody_who_has_moved_away_is_known_again(hub, doors):
    (_, one), _ = doors
    bob = next(person for person in one.people() if person.name == "Bob")
    move_person(hub, bob.id, ["west"])
    one.merge(one.person("Ada"), bob)  # before this door has heard of it
    exchange(*doors)
    assert [content(gallery) for _, gallery in doors] == [{"Ada": photos(1, 2)}] * 2
    assert hub_content(hub) == {"Ada": photos(1, 2), "Bob": photos(3)}


def test_somebody_who_was_merged_elsewhere_stays_out_of_reach_of_other_sites(hub, board, doors):
    with board("door-3", "west") as (own, _):
        ((ada,),) = hub.execute("SELECT id FROM rkface.person WHERE name = 'Ada'").fetchall()
        ((bob,),) = hub.execute("SELECT id FROM rkface.person WHERE name = 'Bob'").fetchall()
        samples = [id for (id,) in hub.execute("SELECT id FROM rkface.sample")]
        own.execute("SELECT rkface.rename(%s, 'Ada', 'Eve')", [ada])
        own.execute("SELECT rkface.merge(%s, %s)", [bob, ada])
        own.execute("SELECT rkface.remove_samples(%s, %s)", [ada, samples])
        assert hub_content(hub) == {"Ada": photos(1, 2), "Bob": photos(3)}
        move_person(hub, ada, ["east", "west"])
        own.execute("SELECT rkface.merge(%s, %s)", [bob, ada])  # it may change one of them, and not the other
        assert hub_content(hub) == {"Ada": photos(1, 2), "Bob": photos(3)}


@pytest.fixture
def conflict(hub, doors, capsys, database):
    """Cleo was enrolled at both doors while they did not hear of the hub: ``conflict(*options)`` decides."""
    (_, one), (_, two) = doors
    one.add("Cleo", [sample(6)])
    two.add("Cleo", [sample(7)])
    exchange(*doors)
    assert content(two).keys() == {"Ada", "Bob", "Cleo", "Cleo (2)"}
    assert main(["hub", "conflicts", "--hub", database]) == 0
    line = capsys.readouterr().out
    assert "Cleo at door-2 (enrolled with 1 photo)" in line

    def decide(*options):
        assert main(["hub", "decide", line[:8], "--yes", *options, "--hub", database]) == 0
        exchange(*doors)
        assert main(["hub", "conflicts", "--json", "--hub", database]) == 0
        assert '"person"' not in capsys.readouterr().out
        return line.partition(":")[0]

    return decide


@pytest.mark.parametrize("decision", ["--erase", "--same-person"])
def test_a_decision_that_cannot_be_undone_needs_a_yes(hub, conflict, database, capsys, decision):
    (waiting,) = list_conflicts(hub)
    assert main(["hub", "decide", waiting.person, decision, "--hub", database]) == 2
    assert "Cleo, who is at door-2" in (err := capsys.readouterr().err) and "--yes" in err
    assert list_conflicts(hub) == [waiting]
    conflict(decision)


def test_a_person_is_erased_at_the_hub_after_a_yes(hub, doors, database, capsys):
    command = ["hub", "erase", "Ada", "--hub", database]
    assert main(command) == 2
    assert "this would erase Ada at the hub and on every board, forever: add --yes" in capsys.readouterr().err
    check(hub, doors, OTHERS)
    assert main([*command, "--yes"]) == 0
    check(hub, doors, {"Bob": photos(3)})


OTHERS = {"Ada": photos(1, 2), "Bob": photos(3)}


def test_two_people_with_one_name_become_one_if_a_human_says_so(hub, doors, conflict):
    conflict("--same-person")
    check(hub, doors, {**OTHERS, "Cleo": photos(6, 7)})
    doors[1][1].add("Cleo", [sample(8)])
    check(hub, doors, {**OTHERS, "Cleo": photos(6, 7, 8)})


def test_two_people_with_one_name_get_two_names_if_a_human_says_so(hub, doors, conflict):
    conflict("--name", "Cleo of Sales")
    check(hub, doors, {**OTHERS, "Cleo": photos(6), "Cleo of Sales": photos(7)})


def test_merging_at_the_door_decides_too(hub, doors):
    (_, one), (_, two) = doors
    one.add("Cleo", [sample(6)])
    two.add("Cleo", [sample(7)])
    exchange(*doors)
    two.merge(two.person("Cleo"), two.person("Cleo (2)"))
    check(hub, doors, {**OTHERS, "Cleo": photos(6, 7)})
    assert hub.execute("SELECT count(*) FROM rkface.review").fetchone() == (0,)


def test_the_second_person_with_a_name_is_erased_if_a_human_says_so(hub, doors, conflict):
    person = conflict("--erase")
    check(hub, doors, {**OTHERS, "Cleo": photos(6)})
    assert person in forgotten(doors[1][1])
    (found,) = list_erased(hub)
    assert (found.person, "door-2" in found.confirmed) == (person, True)


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (["--same-person"], {"Zoe": photos(1, 2, 9), "Bob": photos(3)}),
        (["--name", "Ada"], {**OTHERS, "Zoe": photos(9)}),
        (["--name", "Ada of Sales"], {"Ada of Sales": photos(1, 2), "Bob": photos(3), "Zoe": photos(9)}),
    ],
)
def test_a_new_name_that_somebody_elsewhere_has_waits_for_a_human(hub, doors, capsys, options, expected):
    database = ["--hub", hub_address(hub)]
    zoe = add_person(hub, "Zoe", ["west"], [sample(9)], ONE)
    (own, one), _ = doors
    one.rename(one.person("Ada"), "Zoe")
    ada = one.person("Zoe").id
    for _ in range(2):
        assert push_people(own, one) == [ada]
        sync(own, one)
    assert hub_content(hub) == {**OTHERS, "Zoe": photos(9)}
    assert main(["hub", "decide", ada, "--erase", "--yes", *database]) == 2
    assert "rkface hub erase" in capsys.readouterr().err
    assert main(["hub", "decide", ada, "--name", "Bob", *database]) == 2
    assert "choose another name" in capsys.readouterr().err
    assert main(["hub", "decide", ada, "--yes", *options, *database]) == 0
    move_person(hub, zoe, ["east"])
    check(hub, doors, expected)


def test_who_is_not_in_conflict_cannot_be_decided_about(hub, database, capsys):
    assert main(["hub", "decide", "abc", "--same-person", "--hub", database]) == 2
    assert "rkface hub conflicts" in capsys.readouterr().err


def test_groups_go_with_people_to_the_other_doors_of_the_site(hub, board):
    with board("door-1", "east") as (one, first), board("door-2", "east") as (two, second):
        ada, bob = first.add("Ada", [sample(1)]), first.add("Bob", [sample(2)])
        add_to_group(first, "family", [ada, bob])
        exchange((one, first))
        exchange((two, second))
        assert list_groups(second) == {"family": tuple(sorted((ada.id, bob.id)))}
        set_groups(second, ada, ["staff", "night"])
        rename_group(second, "family", "guests")
        exchange((two, second))
        exchange((one, first))
        assert {person.name: person.groups for person in first.people()} == {
            "Ada": ("night", "staff"), "Bob": ("guests",),
        }  # fmt: skip
        hub.execute("UPDATE rkface.person SET groups = %s WHERE name = 'Ada'", [["night", "\x07", ""]])
        exchange((one, first))
        assert next(person for person in first.people() if person.name == "Ada").groups == ("night",)


def test_groups_of_somebody_who_waited_for_a_decision_stay(hub, board):
    add_site(hub, "east")
    add_person(hub, "Ada", ["east"], [sample(1)], ONE)
    with board("door-1", "east") as (own, gallery):
        add_to_group(gallery, "family", [gallery.add("Ada", [sample(2)])])
        exchange((own, gallery))
        decide_name(hub, list_conflicts(hub)[0], "Ada Byron")
        exchange((own, gallery))
        assert {person.name: person.groups for person in gallery.people()} == {"Ada": (), "Ada Byron": ("family",)}
