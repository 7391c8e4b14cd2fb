"""The Label Studio project: a labelling configuration made of `configs/labels.yaml`."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import chain, repeat
from xml.sax.saxutils import quoteattr

from annotations.labels import EntityType, label_schema
from annotations.labelstudio import (
    ATTITUDES,
    ENTITIES,
    EVIDENCE,
    HOLDER,
    SCOPE,
    STANCE,
    TARGET,
    TOPIC,
)

_HOTKEYS = "1234567890qwertyuiopa"


def project_xml(labels: Iterable[str] = ()) -> str:
    """The labelling configuration of `configs/labels.yaml`: right to left, in Arabic. Entity types
    among `labels` that are not there come after those that are.
    """
    schema = label_schema()
    others = sorted(set(labels) - set(schema.entities))
    types = zip(schema.entities.values(), chain(_HOTKEYS, repeat("")), strict=False)
    rows = [
        '<View dir="rtl" style="direction: rtl; text-align: right">',
        '  <Header value="$title"/>',
        f'  <Labels name="{ENTITIES}" toName="text" choice="single">',
        *(f"    {_label(kind, key)}" for kind, key in types),
        *(f"    <Label value={quoteattr(name)}/>" for name in others),
        "  </Labels>",
        f'  <Labels name="{ATTITUDES}" toName="text" choice="single">',
        f'    <Label value="{TARGET}" html="من يُوقف منه" background="#111827" hotkey="z"/>',
        f'    <Label value="{EVIDENCE}" html="الدليل" background="#9ca3af" hotkey="x"/>',
        f'    <Label value="{SCOPE}" html="النطاق" background="#d1d5db" hotkey="c"/>',
        "  </Labels>",
        '  <View style="font-size: 1.25em; line-height: 2; white-space: pre-wrap; direction: rtl">',
        '    <Text name="text" value="$text" granularity="symbol"/>',
        "  </View>",
        f'  <Choices name="{STANCE}" toName="text" perRegion="true" whenTagName="{ATTITUDES}" '
        f'whenLabelValue="{TARGET}" choice="single" showInline="true">',
        *(f"    {_choice(name, arabic)}" for name, arabic in schema.stances.items()),
        "  </Choices>",
        f'  <TextArea name="{HOLDER}" toName="text" perRegion="true" whenTagName="{ATTITUDES}" '
        f'whenLabelValue="{TARGET}" maxSubmissions="1" '
        'placeholder="صاحب الموقف إن لم يكن الكاتب"/>',
        f'  <Relations><Relation value="{EVIDENCE}"/><Relation value="{SCOPE}"/></Relations>',
        f'  <Choices name="{TOPIC}" toName="text" choice="single" showInline="true">',
        *(f"    {_choice(name, arabic)}" for name, arabic in schema.topics.items()),
        "  </Choices>",
        "</View>",
    ]
    return "\n".join(rows) + "\n"


def _label(kind: EntityType, hotkey: str) -> str:
    shown = quoteattr(f"{kind.arabic} ({kind.name})")
    key = f' hotkey="{hotkey}"' if hotkey else ""
    return f'<Label value="{kind.name}" html={shown} background="{kind.colour}"{key}/>'


def _choice(name: str, arabic: str) -> str:
    return f'<Choice value="{name}" html={quoteattr(arabic)}/>'
