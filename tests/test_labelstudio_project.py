"""The Label Studio project that tasks are annotated in."""

from __future__ import annotations

from xml.etree import ElementTree

import pytest

from annotations.labels import label_schema
from annotations.labelstudio_project import project_xml


def test_the_project_names_every_label_in_arabic_from_right_to_left() -> None:
    root = ElementTree.fromstring(project_xml())
    schema = label_schema()
    assert root.get("dir") == "rtl"
    found = root.findall("Labels[@name='entities']/Label")
    assert [label.get("value") for label in found] == list(schema.entities)
    for label, kind in zip(found, schema.entities.values(), strict=True):
        assert kind.arabic in str(label.get("html")) and label.get("background") == kind.colour
    keys = [label.get("hotkey") for label in root.iter("Label")]
    assert len(set(keys)) == len(keys) and None not in keys
    for name, labels in (("stance", schema.stances), ("topic", schema.topics)):
        choices = root.findall(f"Choices[@name='{name}']/Choice")
        assert {c.get("value"): c.get("html") for c in choices} == labels


def test_a_schema_of_more_types_than_keys_is_a_project_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("annotations.labelstudio_project._HOTKEYS", "12")
    root = ElementTree.fromstring(project_xml())
    keys = [label.get("hotkey") for label in root.findall("Labels[@name='entities']/Label")]
    assert keys[:3] == ["1", "2", None] and len(keys) == len(label_schema().entities)
