"""Random predictions for the tests of answers: Arabic text with all that breaks offsets, nested
mentions of every label, and names that several mentions share.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from hypothesis import strategies as st

from annotations.labels import label_schema
from annotations.schema import Range, Span, nested_order
from serving.api.schema import Options, view_labels
from serving.mentions import entity_groups
from serving.prediction import Attitude, Entity, Labelled, Prediction

TEXTS = st.text(alphabet="ابعن وَـ😀👨‍🚒é\n12.؟!:", min_size=1, max_size=40)
FEW_LABELS = ["PERS", "GPE", "NORP", "ORG", "DATE", "OCC"]  # so that names meet
CONFIDENCES = st.sampled_from([0.0, 0.25, 0.5, 0.75, 1.0]) | st.floats(0, 1).map(
    lambda confidence: round(confidence, 4)
)


@dataclass(frozen=True, slots=True)
class Read:
    """A text and what was read in it."""

    text: str
    prediction: Prediction


@st.composite
def read_texts(draw: st.DrawFn) -> Read:
    """A text with a prediction whose `mention_of` is as `link_mentions` would have it."""
    text = draw(TEXTS)
    labels = draw(st.sampled_from([FEW_LABELS, list(label_schema().entities)]))
    spans = draw(st.lists(_ranges(text), max_size=8, unique=True))
    places = nested_order(tuple(Span(*place, draw(st.sampled_from(labels))) for place in spans))
    entities = tuple(_entity(draw, text, i, place) for i, place in enumerate(places, 1))
    entities = _with_owners(draw, entities)
    evidence = st.lists(_ranges(text), max_size=3).map(tuple)
    attitudes = st.lists(
        st.builds(Attitude, st.just("بغداد"), st.just("favor"), CONFIDENCES, evidence), max_size=2
    ).map(tuple)
    prediction = Prediction(
        draw(st.none() | st.just("a1")),
        entities,
        topics=(Labelled("politics", draw(CONFIDENCES)),),
        stances=draw(attitudes),
        claims=draw(attitudes),
        groups=entity_groups(entities, len(text)),
        tokens=draw(st.integers(0, 2**20)),
    )
    return Read(text, prediction)


@st.composite
def options(draw: st.DrawFn) -> Options:
    """Options of every kind, with labels of their view."""
    view = draw(st.sampled_from(["both", "fine", "coarse"]))
    return Options(
        view=view,
        labels=draw(st.none() | st.lists(st.sampled_from(view_labels(view)), max_size=8)),
        min_confidence=draw(st.just(0.0) | CONFIDENCES),
        utf16=draw(st.booleans()),
        sentences=draw(st.booleans()),
    )


@st.composite
def _ranges(draw: st.DrawFn, text: str) -> Range:
    start = draw(st.integers(0, len(text) - 1))
    return start, draw(st.integers(start + 1, len(text)))


def _entity(draw: st.DrawFn, text: str, number: int, span: Span) -> Entity:
    surface = text[span.start : span.end]
    coarse = label_schema().coarse_of(span.label)
    name, confidence = draw(st.sampled_from(["حمص", "مدينة حمص"])), draw(CONFIDENCES)
    place = (span.start, span.end)
    return Entity(f"e{number}", *place, surface, span.label, coarse, confidence, name, f"e{number}")


def _with_owners(draw: st.DrawFn, entities: tuple[Entity, ...]) -> tuple[Entity, ...]:
    """Names of one label that are drawn alike belong to one of them, not always the first."""
    alike: dict[tuple[str, int], list[Entity]] = {}
    for entity in entities:
        alike.setdefault((entity.label, draw(st.integers(0, 1))), []).append(entity)
    owners = {
        entity.id: owner.id
        for together in alike.values()
        for owner in [draw(st.sampled_from(together))]
        for entity in together
        if entity.label not in ("DATE", "OCC") and entity.coarse is not None
    }
    return tuple(replace(e, mention_of=owners.get(e.id, e.id)) for e in entities)
