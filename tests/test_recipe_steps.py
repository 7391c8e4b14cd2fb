"""Every shipped recipe goes through a step of training with a small encoder of its class."""

import json
from pathlib import Path

import pytest

import configs
from annotations.seed import seed_text
from serving.bundle import DEFAULT_FOLDER, Bundle
from serving.encoding import WindowRule
from serving.tagger import Tagger
from tests.small_encoders import save_bert, save_xlm_roberta
from tests.table_backend import with_heads
from training.encoders.sources import encoder_folder
from training.encoders.tiny import save_tiny_encoder
from training.preparation import prepare
from training.recipe import run_recipe
from training.runs import Run
from training.settings import Encoder, Recipe, Source, load_recipe
from training.trainer import fit

RECIPES = configs.folder() / "train"
HUB = {
    "camelbert-mix": "CAMeL-Lab/bert-base-arabic-camelbert-mix",
    "camelbert-msa": "CAMeL-Lab/bert-base-arabic-camelbert-msa",
    "arabert": "aubmindlab/bert-base-arabertv02",
}
ONE_STEP = ["optimiser.epochs=1", "optimiser.max_steps=1", "optimiser.warmup_fraction=0"]


def on_the_seed(name: str, source: Path, folder: Path) -> Recipe:
    """A shipped recipe over a local encoder, each head taught by the seed or by made-up news."""
    news = folder / "news.jsonl"
    row = {"id": "news-1", "text": "فاز الفريق في عمان", "topic": "sports", "label_set": "fine"}
    row["entities"] = [{"start": 14, "end": 18, "label": "GPE"}]
    news.write_text(json.dumps(row, ensure_ascii=False) + "\n", encoding="utf-8")
    recipe = load_recipe(RECIPES / f"{name}.yaml", ONE_STEP)
    corpora = {"khabar": "seed", "anercorp": "seed"}  # the second in its coarse types
    corpora |= {"claim": "seed-claims", "stance": "seed-stances"}
    known = {head: corpus for head, corpus in corpora.items() if head in recipe.heads}
    known |= {"topic": f"{news}#topics"} if "topic" in recipe.heads else {}
    sources = tuple(Source(corpus=corpus, head=head) for head, corpus in known.items())
    return recipe.model_copy(
        update={"encoder": Encoder(source=str(source)), "sources": sources, "lexicon": ("seed",)}
    )


@pytest.mark.parametrize("name", sorted(path.stem for path in RECIPES.glob("*.yaml")))
def test_a_shipped_recipe_trains_a_step_on_an_encoder_of_its_class(
    tmp_path: Path, name: str
) -> None:
    encoder = tmp_path / "encoder"
    if name in HUB:  # BERT with WordPiece, from a bare vocab.txt as on the hub
        assert load_recipe(RECIPES / f"{name}.yaml").encoder.source == HUB[name]
        save_bert(encoder, fast_tokenizer=False)
    else:  # multilingual-e5-small: BERT's layers under XLM-R's tokenizer
        save_tiny_encoder(encoder)
    recipe = on_the_seed(name, encoder, tmp_path)
    folder = encoder_folder(recipe.encoder, tmp_path / "cache")
    before = prepare(recipe, folder)
    fit(recipe, folder, before, tmp_path)
    run = Run(tmp_path)
    assert run.checkpoint is not None
    state = json.loads((run.checkpoint / "trainer_state.json").read_text())
    assert state["global_step"] == state["max_steps"] == 1


def test_an_xlm_roberta_becomes_a_bundle(tmp_path: Path) -> None:
    save_xlm_roberta(tmp_path / "xlm-r")
    recipe = on_the_seed("ner-only", tmp_path / "xlm-r", tmp_path)
    tagger = Tagger.from_bundle(run_recipe(recipe, tmp_path / "run"))
    (prediction,) = tagger.tag([seed_text()])
    assert prediction.error is None


def test_the_camelbert_recipe_becomes_a_bundle(tmp_path: Path) -> None:
    save_bert(tmp_path / "camelbert", fast_tokenizer=False)
    recipe = on_the_seed("camelbert-mix", tmp_path / "camelbert", tmp_path)
    tagger = Tagger.from_bundle(run_recipe(recipe, tmp_path / "run"))
    shipped = {name for name, head in recipe.heads.items() if not head.auxiliary}
    assert (
        {head.name for head in tagger.bundle.manifest.heads}
        == shipped
        == {*recipe.heads} - {"wikifane"}
    )
    assert tagger.reader.encoder.window == WindowRule(size=256, overlap_tokens=48)
    (prediction,) = tagger.tag([seed_text()])
    assert prediction.error is None and prediction.topics
    for entity in prediction.entities:
        assert seed_text()[entity.start : entity.end] == entity.text


def test_a_recipe_goes_on_from_a_bundle(tmp_path: Path, default_tagger: Tagger) -> None:
    recipe = on_the_seed("shipped-8", DEFAULT_FOLDER, tmp_path)
    untrained = recipe.optimiser.model_copy(update={"epochs": 0})
    recipe = recipe.model_copy(update={"optimiser": untrained})
    bundle = Bundle.load(run_recipe(recipe, tmp_path / "run"))
    shipped, manifest = default_tagger.bundle.manifest, bundle.manifest
    assert manifest.encoder == shipped.encoder  # where it first came from
    assert {row["name"] for row in shipped.data} < {row["name"] for row in manifest.data}
    # weights came along, rounded twice; the chain of tags was fitted anew, to the seed alone
    chain = {"transitions": default_tagger.bundle.head("khabar").transitions}
    heads = [h.model_copy(update=chain if h.name == "khabar" else {}) for h in manifest.heads]
    spans, known = (
        {(s.start, s.end, s.label) for s, _ in t.spans([seed_text()], "khabar")[0]}
        for t in (Tagger(with_heads(bundle, *heads)), default_tagger)
    )
    assert len(spans & known) > 0.95 * len(spans | known), (len(spans & known), len(spans | known))


def test_the_resolved_recipe_stands_in_the_run_and_in_the_bundle(smoke_run: Path) -> None:
    recipe = Run.open(smoke_run).recipe
    assert recipe == load_recipe(RECIPES / "smoke.yaml")
    manifest = json.loads((smoke_run / "bundle" / "bundle.json").read_text(encoding="utf-8"))
    assert Recipe.model_validate(manifest["training"]["recipe"]) == recipe
    assert manifest["training"]["encoder_config"]["num_attention_heads"] == 4
    assert "_name_or_path" not in manifest["training"]["encoder_config"]  # a folder of ours
