"""The format of events is a promise: a change needs a new version."""

import json
import re
from importlib.resources import files
from pathlib import Path

import fastjsonschema
import pytest

from rkface.runtime.alerts.alert import Alert
from rkface.runtime.events.deletion_notices import as_event
from rkface.runtime.events.event import encode

from .world import appearance, reference

SCHEMAS = {
    name: json.loads((files("rkface.runtime.events") / f"{name}.schema.json").read_text(encoding="utf-8"))
    for name in ("appearance", "alert", "forgotten")
}
SCHEMA = SCHEMAS["appearance"]
DOCS = (Path(__file__).resolve().parents[3] / "docs/events.md").read_text(encoding="utf-8")


def test_the_json_of_an_appearance():
    assert json.loads(encode(appearance(1, "end").as_event())) == {
        "schema": "rkface.appearance", "version": 1, "event": "e42d6686a8d6ecb26c38939ed471eef2",
        "id": "a-1", "source": "door", "stage": "end", "match": {"person": "p-1", "name": "Ada", "cosine": 0.71},
        "threshold": 0.4, "started": 1780000001.0, "best": 1780000001.5, "ended": 1780000004.0,
        "box": [0.1, 0.2, 0.3, 0.4], "score": 0.9, "quality": 0.8, "frames": 7, "liveness": None, "live": None,
        "zones": [],
    }  # fmt: skip


def test_the_json_of_a_notice():
    assert json.loads(encode(as_event("p-1", 1780000100.5))) == {
        "schema": "rkface.forgotten",
        "version": 1,
        "event": "458a1f6d656fa9f11e00c719b182bf79",
        "person": "p-1",
        "forgotten": 1780000100.5,
    }


@pytest.mark.parametrize("match", [None, "Ada"])
@pytest.mark.parametrize("stage", ["start", "update", "end"])
def test_appearances_follow_their_schema(stage, match):
    event = json.loads(encode((appearance(1, stage) if match else appearance(1, stage, None)).as_event()))
    check(SCHEMA, event)


def test_notices_follow_their_schema():
    check(SCHEMAS["forgotten"], json.loads(encode(as_event("p-1", 1780000100.5))))


@pytest.mark.parametrize("picture", [None, reference("0" * 32), {**reference("0" * 32, "frame"), "data": "/9j/"}])
def test_alerts_follow_their_schema(picture):
    event = json.loads(encode(Alert("night", ("mqtt",), appearance(1)).as_event(picture)))
    check(SCHEMAS["alert"], event)
    assert event["appearance"] == json.loads(encode(appearance(1).as_event()))  # as its own event has it


def check(schema, event):
    fastjsonschema.compile(schema)(event)
    assert list(schema["properties"]) == schema["required"]
    assert event.keys() == schema["properties"].keys()  # nothing that is not described


def test_the_schema_refuses_wrong_events():
    event = json.loads(encode(appearance(1).as_event()))
    for wrong in ({"stage": "gone"}, {"match": {"name": "Ada"}}, {"box": [0, 0, 1]}, {"version": 2}, {"frames": 1.5}):
        with pytest.raises(fastjsonschema.JsonSchemaValueException):
            fastjsonschema.compile(SCHEMA)({**event, **wrong})
    for wrong in (event, {**as_event("p-1", 1.0), "event": "x"}, {**as_event(None, 1.0), "event": event["event"]}):
        with pytest.raises(fastjsonschema.JsonSchemaValueException):
            fastjsonschema.compile(SCHEMAS["forgotten"])(wrong)


def rows(properties, prefix=""):
    for name, rule in properties.items():
        yield f"| `{prefix}{name}` | {kind(rule)} | {rule['description']} |"
        for variant in rule.get("oneOf", ()):
            yield from rows(variant.get("properties", {}), f"{prefix}{name}.")


def kind(rule):
    if "const" in rule:
        return f"`{json.dumps(rule['const'])}`"
    if "enum" in rule:
        return ", ".join(f"`{json.dumps(value)}`" for value in rule["enum"])
    if "oneOf" in rule:
        return " or ".join(variant["type"] for variant in rule["oneOf"])
    return rule["type"] if isinstance(rule["type"], str) else " or ".join(rule["type"])


@pytest.mark.parametrize("name", SCHEMAS)
def test_the_tables_in_the_docs_match_the_schema(name):
    table = re.search(rf"<!-- from \S+/{name}\.schema\.json -->\n\|.*\n\|.*\n((?:\|.*\n)+)", DOCS)[1]
    assert table.splitlines() == list(rows(SCHEMAS[name]["properties"]))


def test_the_examples_in_the_docs_are_events():
    examples = [json.loads(text) for text in re.findall(r"```json\n(.*?)```", DOCS, re.DOTALL)]
    assert [example["schema"] for example in examples] == [f"rkface.{name}" for name in SCHEMAS]
    for example, schema in zip(examples, SCHEMAS.values(), strict=True):
        fastjsonschema.compile(schema)(example)
