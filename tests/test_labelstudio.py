"""Label Studio: documents go there and back whole, and a person's work is read as it was meant."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from annotations.errors import FormatError
from annotations.labelstudio import TaskReader, read_tasks, to_task, write_tasks
from annotations.schema import Document, Span, Stance
from annotations.seed import seed_document
from tests.documents import documents

TEXT = "😀 زار الوزير سالم عمان أمس 😀 وشكر أهل عمان."


def utf16(text: str, start: int, end: int) -> tuple[int, int]:
    """Offsets as JavaScript counts them."""
    return tuple(len(text[:i].encode("utf-16-le")) // 2 for i in (start, end))  # type: ignore[return-value]


def exported(result: list[dict[str, Any]], **more: Any) -> dict[str, Any]:
    """A task in the layout of Label Studio's JSON export."""
    annotation = {
        "id": 1001,
        "completed_by": 3,
        "result": result,
        "was_cancelled": False,
        "ground_truth": False,
        "created_at": "2026-03-09T22:16:08.728353Z",
        "updated_at": "2026-03-09T22:16:08.728378Z",
        "lead_time": 4.288,
        "prediction": {},
        "result_count": len(result),
        "unique_id": "7d4f0f5b-1e0c-4a4e-9d64-3e2b8d1c5a11",
        "task": 7,
        "project": 83,
    }
    task = {
        "id": 7,
        "annotations": [annotation],
        "file_upload": "ab-tasks.json",
        "drafts": [],
        "predictions": [],
        "data": {"text": TEXT, "title": "خبر"},
        "meta": {},
        "inner_id": 1,
        "total_annotations": 1,
        "cancelled_annotations": 0,
        "project": 83,
    }
    return {**task, **more}


def region(identifier: str, label: str, surface: str, control: str = "entities") -> dict[str, Any]:
    start, end = utf16(TEXT, TEXT.index(surface), TEXT.index(surface) + len(surface))
    value = {"start": start, "end": end, "text": surface, "labels": [label]}
    where = {"id": identifier, "from_name": control, "to_name": "text", "type": "labels"}
    return {**where, "value": value, "origin": "manual"}


@settings(max_examples=300, deadline=None)
@given(st.lists(documents(), max_size=3), st.sampled_from([None, "khabar 1"]))
def test_documents_go_there_and_back(found: list[Document], model: str | None) -> None:
    reader = TaskReader(predictions=True)
    tasks = [json.loads(json.dumps(to_task(document, model))) for document in found]
    assert [reader.document(task, "t") for task in tasks] == found
    assert not [note for note in reader.notes if "repaired" in note or "left out" in note]


def test_a_persons_work_is_read_with_its_offsets_repaired() -> None:
    work = [
        region("a", "GPE", "عمان"),
        region("b", "شخص", "سالم"),
        region("t", "TARGET", "سالم", "attitudes"),
        region("v", "EVIDENCE", "وشكر أهل", "attitudes"),
        {**region("t", "", "سالم"), "from_name": "stance", "type": "choices",
         "value": {"start": 1, "end": 2, "choices": ["favor"]}},
        {"type": "relation", "from_id": "v", "to_id": "t", "direction": "right"},
        {"id": "k", "from_name": "topic", "to_name": "text", "type": "choices",
         "value": {"choices": ["politics"]}},
    ]  # fmt: skip
    reader = TaskReader()
    document = reader.document(exported(work), "t")
    assert (document.id, document.title, document.topic) == ("task-7", "خبر", "politics")
    assert [(document.surface(s), s.label) for s in document.entities or ()] == [
        ("عمان", "GPE"),
        ("سالم", "PERS"),
    ]
    start, evidence = TEXT.index("سالم"), TEXT.index("وشكر أهل")
    assert document.stances == (
        Stance("سالم", "favor", start, start + 4, evidence=((evidence, evidence + 8),)),
    )
    assert reader.notes == {"span repaired: its offsets were UTF-16 units": 4}


def test_offsets_that_fit_nothing_are_refused_by_name() -> None:
    wrong = region("a", "GPE", "عمان")
    wrong["value"]["start"] += 1
    with pytest.raises(FormatError, match=r"^task-7: region a: \[\d+, \d+\) does not hold its own"):
        TaskReader().document(exported([wrong]), "t")
    del wrong["value"]["text"]
    with pytest.raises(FormatError, match="or has no text of its own"):
        TaskReader().document(exported([wrong]), "t")


def test_what_has_no_place_is_counted() -> None:
    work = [
        {"id": "r", "from_name": "stars", "to_name": "text", "type": "rating", "value": {}},
        region("t", "TARGET", "سالم", "attitudes"),
        region("v", "EVIDENCE", "وشكر", "attitudes"),
    ]
    reader = TaskReader()
    assert reader.document(exported(work), "t").entities == ()
    assert sorted(note.split(" left out")[0] for note in reader.notes if "left" in note) == [
        "evidence or scope",
        "rating of the control 'stars'",
        "target",
    ]


def test_one_of_several_annotators_must_be_named() -> None:
    task = exported([region("a", "GPE", "عمان")])
    other = {**task["annotations"][0], "completed_by": {"id": 4, "email": "b@x"}, "result": []}
    cancelled = {**other, "completed_by": 5, "was_cancelled": True}
    task["annotations"] += [other, cancelled]
    with pytest.raises(FormatError, match="task-7: 2 completed annotations"):
        TaskReader().document(task, "t")
    task["annotations"] += [task["annotations"][0]]
    with pytest.raises(FormatError, match=r"\(by 3\); delete all but one in Label Studio"):
        TaskReader(annotator="3").document(task, "t")
    task["annotations"].pop()
    assert TaskReader(annotator="b@x").document(task, "t").entities == ()
    assert len(TaskReader(annotator="3").document(task, "t").entities or ()) == 1


def test_predictions_are_no_annotation_unless_asked_for() -> None:
    task = to_task(Document("d", "عمان", entities=(Span(0, 4, "GPE"),)), "model 1")
    reader = TaskReader()
    assert reader.document(task, "t").entities is None
    assert reader.notes == {"task with predictions alone, read as not annotated": 1}
    assert TaskReader(predictions=True).document(task, "t").entities == (Span(0, 4, "GPE"),)
    older = {"model_version": "khabar 0", "result": []}
    task["predictions"].insert(0, older)
    assert TaskReader(predictions=True).document(task, "t").entities == (Span(0, 4, "GPE"),)


@pytest.mark.parametrize("layout", ["array", "lines", "indented", "empty"])
def test_exports_are_read_a_task_at_a_time(
    tmp_path: Path, layout: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("annotations.labelstudio._READ_BYTES", 7)
    tasks = [to_task(seed_document()), to_task(Document("ب", "😀\u2028]"))] * 2
    path = tmp_path / "export.json"
    if layout == "array":
        write_tasks(path, [seed_document(), Document("ب", "😀\u2028]")] * 2)
    elif layout == "empty":
        tasks = []
        write_tasks(path, [])
    else:
        lines = "".join(json.dumps(task, ensure_ascii=False) + "\n" for task in tasks)
        path.write_text(lines if layout == "lines" else json.dumps(tasks, indent=2), "utf-8")
    assert list(read_tasks(path)) == json.loads(json.dumps(tasks))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('[{"data": ', "task 1 is no JSON"),
        ('[{"data": {}}, 3]', "task 2 is no object"),
        ('[{"data": {}}, nul', "task 2 is no JSON"),
        ('[{"data": {}},', "cut off after task 1"),
        ("[", "cut off after task 0"),
        ("[{" + '"a":' * 100_000, "task 1 is no JSON"),
    ],
)
def test_a_broken_export_is_told(tmp_path: Path, text: str, words: str) -> None:
    path = tmp_path / "export.json"
    path.write_text(text)
    with pytest.raises(FormatError, match=words):
        list(read_tasks(path))


@pytest.mark.parametrize(
    "broken",
    [
        {"annotations": 3},
        {"annotations": [None]},
        {"annotations": [{"result": {"a": 1}}]},
        {"annotations": [{"result": [None]}]},
        {"annotations": [{"result": [{"type": "labels", "value": []}]}]},
        {"data": {"text": TEXT, "khabar": [1]}},
        {"data": {"text": TEXT, "khabar": {"stances": [1]}}},
    ],
)
def test_a_malformed_task_is_one_error_that_names_it(broken: dict[str, Any]) -> None:
    with pytest.raises(FormatError, match=r"^(file: task 7|task-7)"):
        TaskReader().document({**exported([region("a", "GPE", "عمان")]), **broken}, "file: task 7")


def test_one_string_is_a_list_of_one_and_empty_ones_say_nothing() -> None:
    target = region("t", "TARGET", "سالم", "attitudes")
    work = [
        {
            **region("a", "GPE", "عمان"),
            "value": {**region("a", "", "عمان")["value"], "labels": "GPE"},
        },
        target,
        {**target, "from_name": "stance", "type": "choices", "value": {"choices": "favor"}},
        {**target, "from_name": "holder", "type": "textarea", "value": {"text": [""]}},
    ]
    document = TaskReader().document(exported(work), "t")
    assert [span.label for span in document.entities or ()] == ["GPE"]
    assert [(s.label, s.holder) for s in document.stances or ()] == [("favor", None)]


def test_what_there_is_more_than_once_is_counted_or_refused() -> None:
    target = region("t", "TARGET", "سالم", "attitudes")
    chosen = {**target, "from_name": "stance", "type": "choices"}
    work = [
        target,
        {**chosen, "value": {"choices": ["favor"]}},
        {**chosen, "value": {"choices": ["against"]}},
        {**region("n", "", "عمان"), "value": {**region("n", "", "عمان")["value"], "labels": []}},
        {
            "id": "k",
            "from_name": "topic",
            "type": "choices",
            "value": {"choices": ["politics", "health"]},
        },
    ]
    reader = TaskReader()
    document = reader.document(exported(work), "t")
    assert [s.label for s in document.stances or ()] == ["favor"]
    assert {note for note in reader.notes if "left out" in note} == {
        "stance left out: a target has one",
        "region left out: it has no label",
        "topic left out: a document has one",
    }
    with pytest.raises(FormatError, match="task-7: region t stands twice"):
        TaskReader().document(exported([target, target]), "t")
    both = region("t", "TARGET", "سالم", "attitudes")
    both["value"]["labels"].append("PERS")
    with pytest.raises(FormatError, match=r"task-7: region t: TARGET, PERS on one .* mark two"):
        TaskReader().document(exported([both]), "t")


def test_a_stance_has_one_scope_the_first_that_is_tied_to_it() -> None:
    target = region("t", "TARGET", "سالم", "attitudes")
    chosen = {**target, "from_name": "stance", "type": "choices", "value": {"choices": ["favor"]}}
    scopes = [region("s1", "SCOPE", "زار الوزير سالم", "attitudes")]
    scopes.append(region("s2", "SCOPE", "سالم عمان أمس", "attitudes"))
    ends = [
        {"type": "relation", "from_id": s["id"], "to_id": "t", "direction": "right"} for s in scopes
    ]
    reader = TaskReader()
    (stance,) = reader.document(exported([target, chosen, *scopes, *ends]), "t").stances or ()
    start = TEXT.index("زار")
    assert stance.scope == (start, start + len("زار الوزير سالم"))
    assert reader.notes["scope left out: a stance has one"] == 1


def test_an_entity_may_be_a_target_too_whichever_is_told_first() -> None:
    target, entity = region("r", "TARGET", "سالم", "attitudes"), region("r", "PERS", "سالم")
    chosen = {**target, "from_name": "stance", "type": "choices", "value": {"choices": ["favor"]}}
    found = [
        TaskReader().document(exported([*order, chosen]), "t")
        for order in ((entity, target), (target, entity))
    ]
    assert found[0] == found[1]
    assert [span.label for span in found[0].entities or ()] == ["PERS"]
    assert [stance.label for stance in found[0].stances or ()] == ["favor"]


@pytest.mark.parametrize(
    ("start", "end", "direction"),
    [(a, b, d) for a, b in (("e", "t"), ("t", "e")) for d in ("right", "left", "bi", None)],
)
def test_evidence_belongs_to_its_target_however_the_relation_is_drawn(
    start: str, end: str, direction: str | None
) -> None:
    target = region("t", "TARGET", "سالم", "attitudes")
    chosen = {**target, "from_name": "stance", "type": "choices", "value": {"choices": ["favor"]}}
    relation = {"type": "relation", "from_id": start, "to_id": end, "direction": direction}
    work = [relation, target, chosen, region("e", "EVIDENCE", "عمان", "attitudes")]
    reader = TaskReader()
    (stance,) = reader.document(exported(work), "t").stances or ()
    place = TEXT.index("عمان")
    assert stance.evidence == ((place, place + 4),)
    assert not [note for note in reader.notes if "left out" in note]


def test_who_completed_a_task_looked_for_entities_and_stances() -> None:
    document = TaskReader().document(exported([]), "t")
    assert (document.entities, document.stances, document.claims) == ((), (), None)


@pytest.mark.parametrize(
    ("work", "carried", "words"),
    [
        ([region("t", "TARGET", " ", "attitudes")], {}, "task-7: region t: stance: the target is"),
        ([], {"txt": "نص"}, "file: task 7: unknown field 'txt'"),
        ([], {"topic": 5}, "file: task 7: field 'topic' must be a string or null"),
        ([], {"stances": [{"target": " ", "label": "favor"}]}, "file: task 7: stance: the target"),
    ],
)
def test_an_error_of_a_document_names_its_task(
    work: list[dict[str, Any]], carried: dict[str, Any], words: str
) -> None:
    chosen = {"id": "t", "from_name": "stance", "type": "choices", "value": {"choices": ["favor"]}}
    data = {"text": TEXT, "khabar": {"id": "task-7", **carried}}
    with pytest.raises(FormatError, match=f"^{words}"):
        TaskReader().document(exported([*work, chosen], data=data), "file: task 7")


def test_a_relation_between_entities_is_counted() -> None:
    relation = {"type": "relation", "from_id": "a", "to_id": "b", "direction": "right"}
    work = [region("a", "GPE", "عمان"), region("b", "PERS", "سالم"), relation]
    reader = TaskReader()
    assert len(reader.document(exported(work), "t").entities or ()) == 2
    assert [note for note in reader.notes if "relation left out" in note]


def test_a_region_that_cannot_be_shown_names_its_document() -> None:
    with pytest.raises(FormatError, match=r"^d: GPE \[0, 9\): outside the text"):
        to_task(Document("d", "عمان", entities=(Span(0, 9, "GPE"),)))
