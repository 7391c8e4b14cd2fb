"""Which documents the heads of a recipe are calibrated on."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

import configs
import training.recipe
from annotations.jsonl import write_documents
from annotations.schema import Claim, Document, Span
from annotations.text import normalize
from serving.bundle import Bundle, Head
from serving.tagger import Tagger
from training.recipe import calibrate, taught
from training.settings import Source, load_recipe
from training.splits import held_out_part

SMOKE = configs.folder() / "train" / "smoke.yaml"


def calibrated_on(
    bundle: Path, sources: str, monkeypatch: pytest.MonkeyPatch
) -> dict[str, list[Sequence[Document]]]:
    """The documents of each source, by the head that they calibrate."""
    found: dict[str, list[Sequence[Document]]] = {}

    def record(tagger: Tagger, head: Head, documents: Sequence[Sequence[Document]]) -> Head:
        found[head.name] = list(documents)
        return head

    monkeypatch.setattr(training.recipe, "calibrate_head", record)
    recipe = load_recipe(SMOKE, [f"sources={sources}"])
    manifest = Bundle.load(bundle).manifest
    assert calibrate(bundle, manifest, recipe) == manifest.heads
    return found


def test_a_file_of_ones_own_calibrates_what_was_annotated_in_it(
    smoke_bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "my-own.jsonl"  # no corpus of the name `my`
    texts = [f"زار الوفد بغداد {i}" for i in range(200)]
    held_out = [text for text in texts if held_out_part(normalize(text).text) == "calibration"]
    claims = (Claim("زار الوفد", "agree"),)
    kinds = [
        {"entities": (Span(10, 15, "GPE"),), "claims": claims},
        {"entities": (), "claims": claims},
        {"entities": None, "claims": claims},
    ]
    documents = [
        Document(f"d{i}", text, **kinds[i % 3])  # type: ignore[arg-type]
        for i, text in enumerate(held_out)
    ]
    write_documents(path, documents)
    of_words, of_claims = f"{{corpus: {path}, head: khabar}}", f"{path}#claims"
    found = calibrated_on(
        smoke_bundle, f"[{of_words}, {{corpus: '{of_claims}', head: claim}}]", monkeypatch
    )
    assert found == {
        "khabar": [[d for d in documents if d.entities is not None]],
        "claim": [documents],
    }


def test_a_file_of_ones_own_calibrates_beside_a_corpus_and_under_the_heads_names(
    smoke_bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "own.jsonl"
    texts = (f"زار الوفد بغداد {i}" for i in range(200))
    text = next(t for t in texts if held_out_part(normalize(t).text) == "calibration")
    own = Document("d", text, entities=(Span(10, 15, "GPE"),))
    write_documents(path, [own])
    sources = f"[{{corpus: authored, head: khabar}}, {{corpus: {path}, head: khabar}}]"
    authored, mine = calibrated_on(smoke_bundle, sources, monkeypatch)["khabar"]
    assert len(authored) > 100 and list(mine) == [own]


def test_gold_is_calibrated_on_under_the_names_that_the_head_learns_it_by() -> None:
    head = Head(name="ner", kind="flat", labels=("PER", "LOC"))
    spans = (Span(0, 4, "Politician"), Span(5, 9, "Airport"), Span(10, 12, "Sports"))
    documents = [Document("a", "زار الوفد بغداد", entities=spans), Document("b", "نص")]
    (found,) = taught(documents, Source(corpus="wikifane", head="ner"), head)
    assert [span.label for span in found.entities or ()] == ["PER", "LOC"]


def test_a_source_of_other_questions_calibrates_only_where_there_is_nothing_else(
    smoke_bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`authored-claims` have a development split, `arabicfc` has none."""
    told = [Document(name, "دخلت القوات", claims=(Claim("دخلت", "agree"),)) for name in "ab"]
    parts = {"authored": [told[0]], "arabicfc": [told[1]], "seed": []}
    monkeypatch.setattr(training.recipe, "load", lambda name, part: parts[name])
    words = "{corpus: seed, head: khabar}"  # of which no part calibrates
    made = "{corpus: arabicfc, head: claim}"
    asked, empty = "{corpus: authored-claims, head: claim}", "{corpus: seed-claims, head: claim}"
    for sources, expected in (
        (f"[{words}, {made}, {asked}]", [[told[0]]]),
        (f"[{words}, {empty}, {made}]", [[told[1]]]),
    ):
        assert calibrated_on(smoke_bundle, sources, monkeypatch) == {"claim": expected}
    assert calibrated_on(smoke_bundle, f"[{words}, {empty}]", monkeypatch) == {}
