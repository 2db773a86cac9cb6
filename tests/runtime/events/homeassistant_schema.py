"""The configuration of MQTT entities as Home Assistant documents it, as JSON Schema.

From home-assistant.io/integrations/image.mqtt, event.mqtt, sensor.mqtt, binary_sensor.mqtt and switch.mqtt
("Configuration variables"), and from the page of the MQTT integration ("Discovery messages": ``origin``). Only the
documented names are valid, and those that it marks as required must be there. Of the names that all entities share, all
are listed; of the others, those of the kinds of entities that rkface announces.
"""

TEXT, FLAG = {"type": "string"}, {"type": "boolean"}
TOPIC = {"type": "string", "minLength": 1, "pattern": "^[^+#]+$"}
TEXTS = {"type": "array", "items": TEXT, "minItems": 1}


def table(properties, required=()):
    return {
        "type": "object", "properties": properties, "required": list(required), "additionalProperties": False,
    }  # fmt: skip


DEVICE = {
    **table({
        **dict.fromkeys(
            ("hw_version", "manufacturer", "model", "model_id", "name", "serial_number", "suggested_area",
             "sw_version", "via_device"), TEXT,
        ),
        "configuration_url": {"type": "string", "pattern": "^(https?|homeassistant)://"},
        "connections": {"type": "array"},
        "identifiers": {"oneOf": [TEXT, TEXTS]},
    }),
    "anyOf": [{"required": ["identifiers"]}, {"required": ["connections"]}],
}  # fmt: skip
ORIGIN = table({"name": TEXT, "sw_version": TEXT, "support_url": TEXT}, ["name"])
SHARED = {
    **dict.fromkeys(("availability_template", "encoding", "icon", "json_attributes_template", "name", "object_id",
                     "payload_available", "payload_not_available", "unique_id"), TEXT),
    **dict.fromkeys(("availability_topic", "json_attributes_topic"), TOPIC),
    "availability": {"type": "array"},
    "availability_mode": {"enum": ["all", "any", "latest"]},
    "device": DEVICE,
    "enabled_by_default": FLAG,
    "entity_category": {"enum": ["config", "diagnostic"]},
    "origin": ORIGIN,
    "qos": {"enum": [0, 1, 2]},
}  # fmt: skip
READ = {"state_topic": TOPIC, "value_template": TEXT, "device_class": TEXT, "force_update": FLAG}
EXPIRING = {"expire_after": {"type": "integer"}}
DISCOVERY = ["unique_id", "device", "origin"]  # what the integration asks of a discovery message for a device

ENTITIES = {
    "image": {
        **table(
            {**SHARED, "content_type": TEXT, "image_encoding": {"enum": ["b64"]}, "image_topic": TOPIC,
             "url_template": TEXT, "url_topic": TOPIC}, DISCOVERY,
        ),
        "oneOf": [{"required": ["image_topic"]}, {"required": ["url_topic"]}],
    },
    "event": table(
        {**SHARED, "state_topic": TOPIC, "value_template": TEXT, "event_types": TEXTS,
         "device_class": {"enum": ["button", "doorbell", "motion"]}}, [*DISCOVERY, "state_topic", "event_types"],
    ),
    "sensor": table(
        {**SHARED, **READ, **EXPIRING, "last_reset_value_template": TEXT, "options": TEXTS,
         "suggested_display_precision": {"type": "integer"}, "unit_of_measurement": TEXT,
         "state_class": {"enum": ["measurement", "measurement_angle", "total", "total_increasing"]}},
        [*DISCOVERY, "state_topic"],
    ),
    "switch": table(
        {**SHARED, **dict.fromkeys(("command_template", "device_class", "payload_off", "payload_on", "state_off",
                                    "state_on", "value_template"), TEXT),
         "command_topic": TOPIC, "state_topic": TOPIC, "optimistic": FLAG, "retain": FLAG},
        [*DISCOVERY, "command_topic"],
    ),
    "binary_sensor": table(
        {**SHARED, **READ, **EXPIRING, "off_delay": {"type": "integer"}, "payload_off": TEXT, "payload_on": TEXT},
        [*DISCOVERY, "state_topic"],
    ),
}  # fmt: skip
