"""Recipes and the catalogue of corpora: what is shipped is whole, what is misspelt is named."""

import re
from pathlib import Path
from typing import get_args

import pytest

import configs
from annotations.catalogue import catalogue
from annotations.errors import ConfigError
from annotations.hashes import sha256
from annotations.labels import label_schema
from tests.test_settings import MINIMAL, write
from training.evaluation.development import DEV_SPLITS
from training.preparation import recipe_heads
from training.settings import HeadSettings, Recipe, load_recipe

RECIPES = sorted((configs.folder() / "train").glob("*.yaml"))


def test_there_are_recipes_with_and_without_the_hub() -> None:
    sources = {load_recipe(path).encoder.source for path in RECIPES}
    assert {"packaged", "tiny"} < sources
    assert any("/" in source for source in sources)


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_every_shipped_recipe_can_be_trained(path: Path) -> None:
    recipe = load_recipe(path)
    size, overlap = recipe.windows.size - 2, recipe.windows.overlap_tokens
    assert 0 <= overlap < size // 2
    assert recipe.windows.pair_max_pieces > recipe.windows.size + 2  # room for a target or claim
    kinds = {"ans": "pair", "khaleej": "text", "ant": "text"}
    kinds |= dict.fromkeys(("anercorp", "wikifane", "newsfane"), "flat")
    views = {"claims": "pair", "stances": "pair", "topics": "text"}
    made = ("unrelated", "mirrored", "composed", "epithets")
    views |= dict.fromkeys((*made, "headlines", "snippets", "reports", "judged"), "pair")
    views["names"] = "flat"
    for source in recipe.sources:
        corpus, _, view = source.corpus.partition("-")
        kind = views[view] if view else kinds.get(corpus, "nested")
        # what a source annotates in part it may teach a head of another standard
        kinds_here = {kind} if source.annotates is None else {"nested", "flat"}
        assert recipe.heads[source.head].kind in kinds_here
        assert source.corpus.split("-")[0] in catalogue()
    assert set(recipe.lexicon) <= set(catalogue())


@pytest.mark.parametrize("name", ["embedded", "camelbert-mix", "arabert", "smoke"])
def test_a_recipe_trains_the_heads_that_the_service_asks(name: str) -> None:
    recipe = load_recipe(configs.folder() / "train" / f"{name}.yaml")
    heads = {head.name: head for head in recipe_heads(recipe)}
    schema = label_schema()
    assert heads["khabar"].labels == tuple(schema.entities)
    assert len(heads["khabar"].labels) == 21
    assert heads["khabar"].width == 63
    assert heads["anercorp"].tags == (
        "O", "B-PERS", "I-PERS", "B-LOC", "I-LOC", "B-ORG", "I-ORG", "B-MISC", "I-MISC",
    )  # fmt: skip
    assert heads["topic"].labels == tuple(schema.topics)
    assert heads["stance"].labels == ("favor", "against", "neutral")
    assert heads["claim"].labels == ("agree", "disagree", "other")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (MINIMAL.replace("head: khabar", "head: kabar"), "seed teaches 'kabar', which is no head"),
        (MINIMAL.replace("nested", "nestled"), "'pair', got 'nestled'"),
        (MINIMAL.replace('version: "0.0.1"', ""), "version: missing; it has no default"),
        (
            MINIMAL.replace("fine}", "fine}, topic: {kind: text, labels: topics}"),
            "no source teaches head 'topic'",
        ),
        (MINIMAL + "optimiser: {warmup_fraction: 1.0}", "optimiser.warmup_fraction: Input should"),
        (
            MINIMAL.replace("fine}", "fine}, attitude: {kind: pair, labels: stances}"),
            "heads.attitude is a head of pairs, and what it knows is asked of a head 'stance'",
        ),
        (
            MINIMAL.replace("fine}", "fine}, stance: {kind: pair, labels: [agree, disagree]}"),
            "heads.stance is a head of pairs, and what it knows is asked of a head 'claim'",
        ),
        (
            MINIMAL.replace(
                "fine}", "fine}, a: {kind: text, labels: topics}, b: {kind: text, labels: topics}"
            ),
            "heads a, b all read whole texts, and an answer has one topic",
        ),
    ],
)
def test_a_recipe_that_does_not_hold_together_is_refused(
    tmp_path: Path, text: str, words: str
) -> None:
    path = write(tmp_path, text)
    with pytest.raises(ConfigError, match=rf"(?s)^{re.escape(str(path))}.*{re.escape(words)}"):
        load_recipe(path)


def test_an_auxiliary_head_is_asked_nothing_and_free_in_its_name(tmp_path: Path) -> None:
    more = "fine}, tone: {kind: pair, labels: stances, experimental: true, auxiliary: true}"
    assert "tone" in load_recipe(write(tmp_path, MINIMAL.replace("fine}", more))).heads


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_the_settings_kept_in_a_bundle_make_the_same_recipe_again(path: Path) -> None:
    recipe = load_recipe(path)
    assert Recipe.model_validate_json(recipe.model_dump_json()) == recipe


def test_head_settings_are_frozen() -> None:
    head = HeadSettings(kind="text", labels="topics")
    with pytest.raises(ValueError, match="frozen"):
        head.loss_weight = 2.0  # type: ignore[misc]


def test_catalogue_entries_are_complete() -> None:
    lexicon = get_args(get_args(Recipe.model_fields["lexicon"].annotation)[0])
    assert {name.partition("-")[0] for name in DEV_SPLITS} | set(lexicon) <= set(catalogue())
    for name, corpus in catalogue().items():
        assert (name in ("seed", "authored")) == (not corpus.files)
        for words in (corpus.title, corpus.license, corpus.citation, corpus.source):
            assert len(words) > 10, name
        assert all(re.fullmatch("[0-9a-f]{64}", value) for value in corpus.files.values())
        assert corpus.reader == "own" or corpus.traps


def test_no_withheld_file_is_in_the_catalogue_and_no_private_one_in_a_recipe() -> None:
    files = [name for corpus in catalogue().values() for name in corpus.files]
    assert not [name for name in files if "test" in name]
    for path in RECIPES:
        used = {source.corpus.partition("-")[0] for source in load_recipe(path).sources}
        assert not used & {"mawqif", "austr", "arabicfc"}


def test_the_corpora_on_disk_are_those_of_the_catalogue(data_folder: Path) -> None:
    for entry in catalogue().values():
        for name, expected in entry.files.items():
            assert sha256(data_folder / name) == expected, name
