"""The training documents of a source: drawn, apart from development, rewritten as asked."""

import logging
from collections import Counter
from pathlib import Path

import pytest

import configs
from annotations.authored import authored_documents
from annotations.errors import ConfigError, FormatError
from annotations.jsonl import write_documents
from annotations.schema import Document, Span
from training.encoders.sources import encoder_folder
from training.leakage import HeldOut
from training.preparation import prepare, recipe_heads
from training.settings import Recipe, load_recipe
from training.source_documents import development_texts, training_documents

SMOKE = configs.folder() / "train" / "smoke.yaml"


def recipe_of(source: str, *overrides: str) -> Recipe:
    """The smoke recipe with one source for the head `khabar` or `topic`."""
    return load_recipe(SMOKE, [f"sources=[{source}]", "heads.khabar.experimental=true",
                               "heads.claim.experimental=true", *overrides])  # fmt: skip


def documents_of(recipe: Recipe, held_out: HeldOut | None = None) -> tuple[list[Document], int]:
    (source,) = recipe.sources
    head = next(head for head in recipe_heads(recipe) if head.name == source.head)
    return training_documents(recipe, source, head, held_out or development_texts(recipe))


def test_a_copy_of_a_development_text_is_left_out_whatever_file_it_is_in(tmp_path: Path) -> None:
    copy, other = authored_documents("dev")[0], authored_documents("train")[0]
    path = tmp_path / "own.jsonl"
    write_documents(path, [copy, other])
    recipe = recipe_of(f"{{corpus: {path}, head: khabar}}")
    held_out = development_texts(recipe_of("{corpus: authored, head: khabar}"))
    kept, copies = documents_of(recipe, held_out)
    assert [d.id for d in kept] == [other.id] and copies == 1
    assert documents_of(recipe, HeldOut([]))[1] == 0


@pytest.mark.parametrize(("view", "head"), [("", "khabar"), ("#topics", "topic")])
def test_a_document_whose_entities_nobody_annotated_is_not_one_without_names(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, view: str, head: str
) -> None:
    path = tmp_path / "my-own.jsonl"
    there, none, unknown = (
        Document(f"d{i}", "زار الوفد بغداد", topic="politics", entities=entities)
        for i, entities in enumerate([(Span(10, 15, "GPE"),), (), None])
    )
    write_documents(path, [there, none, unknown])
    with caplog.at_level(logging.INFO):
        kept, _ = documents_of(recipe_of(f"{{corpus: '{path}{view}', head: {head}}}"))
    if head == "topic":
        assert kept == [there, none, unknown] and "no entities" not in caplog.text
    else:
        assert kept == [there, none]
        assert "1 of 3 documents have no entities annotated and teach khabar" in caplog.text


def test_development_texts_are_those_of_the_splits_that_are_scored() -> None:
    dev = authored_documents("dev")
    assert development_texts(recipe_of("{corpus: authored, head: khabar}")).has_like(dev[3].text)
    assert not development_texts(recipe_of("{corpus: seed, head: khabar}")).has_like(dev[3].text)


def test_variants_stand_beside_the_documents() -> None:
    plain, _ = documents_of(recipe_of("{corpus: authored, head: khabar}"))
    more, _ = documents_of(recipe_of("{corpus: authored, head: khabar, variants: {count: 2}}"))
    assert more[: len(plain)] == plain and len(more) == 3 * len(plain)


def test_so_many_documents_are_drawn_for_good() -> None:
    plain, _ = documents_of(recipe_of("{corpus: authored, head: khabar}"))
    few, again, other = (
        documents_of(recipe_of("{corpus: authored, head: khabar, documents: 9}", f"seed={seed}"))[0]
        for seed in (3, 3, 4)
    )
    assert few == again != other and len(few) == len({d.id for d in few}) == 9
    assert {d.id for d in few} < {d.id for d in plain}
    assert documents_of(recipe_of("{corpus: authored, head: khabar, documents: 99999}"))[0] == plain


def test_of_each_topic_no_more_are_drawn_than_are_seen_and_of_pairs_all() -> None:
    source = "{corpus: authored-topics, head: topic, per_class: 5}"
    topics, _ = documents_of(recipe_of(source, "optimiser.epochs=2"))
    counts = Counter(document.topic for document in topics)
    assert len(counts) > 3 and set(counts.values()) == {10}
    plain, _ = documents_of(recipe_of("{corpus: authored-snippets, head: stance}"))
    drawn, _ = documents_of(recipe_of("{corpus: authored-snippets, head: stance, per_class: 5}"))
    assert drawn == plain


def test_stretches_stand_in_the_place_of_the_texts() -> None:
    plain, _ = documents_of(recipe_of("{corpus: authored-topics, head: topic}"))
    cut, _ = documents_of(recipe_of("{corpus: authored-topics, head: topic, stretches: 0.5}"))
    shorter = [len(a.text.split()) < len(b.text.split()) for a, b in zip(cut, plain, strict=True)]
    assert 0.2 < sum(shorter) / len(shorter) < 0.6
    assert [d.topic for d in cut] == [d.topic for d in plain]


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("{corpus: authored-topics, head: topic, variants: {count: 1}}", "variants: only for"),
        ("{corpus: authored, head: khabar, stretches: 0.5}", "stretches and bare: only for"),
        ("{corpus: authored, head: khabar, per_class: 5}", "per_class: only for heads of kind"),
    ],
)
def test_what_a_head_cannot_read_is_refused(source: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        documents_of(recipe_of(source))


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("{corpus: wojood, head: khabar, group: 4}", "source wojood: group is 4.*leave that out"),
        ("{corpus: seed, head: khabar, group: 2}", "source seed: group is 2"),
        ("{corpus: seed, head: khabar, detokenise: 0.4}", r"source seed: detokenise is 0\.4"),
        (
            "{corpus: authored-topics, head: topic, annotates: [PERS]}",
            "source authored-topics: annotates: only for heads of kind nested or flat",
        ),
    ],
)
def test_what_would_be_done_to_another_source_is_refused(source: str, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        documents_of(recipe_of(source), HeldOut([]))


def test_max_pieces_is_for_texts_alone() -> None:
    with pytest.raises(ConfigError, match=r"max_pieces: only for heads of kind text, 'khabar' is"):
        documents_of(recipe_of("{corpus: authored, head: khabar, max_pieces: 8}"))


def test_own_labels_that_a_head_lacks_are_told_before_it_is_trained(tmp_path: Path) -> None:
    path = tmp_path / "own.jsonl"
    write_documents(path, [Document(f"d{i}", f"نص {i}", topic="weather") for i in range(60)])
    recipe = recipe_of(f"{{corpus: '{path}#topics', head: topic, passes: 0}}")
    with pytest.raises(FormatError, match="label 'weather' is none of head 'topic'"):
        prepare(recipe, encoder_folder(recipe.encoder, tmp_path / "cache"))
