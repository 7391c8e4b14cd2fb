"""Settings: strict files, overrides from the shell, files that extend others; every mistake is
named.
"""

from pathlib import Path

import pytest

from annotations.errors import ConfigError
from training.settings import Recipe, load_recipe
from training.strict import load_settings

MINIMAL = """
name: try
version: "0.0.1"
encoder: {source: tiny}
heads: {khabar: {kind: nested, labels: fine}}
sources: [{corpus: seed, head: khabar}]
"""


def write(folder: Path, text: str, name: str = "mine.yaml") -> Path:
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


@pytest.mark.parametrize(
    ("line", "place", "guess"),
    [
        ("optimiser: {learning_rat: 0.1}", "optimiser.learning_rat", "learning_rate"),
        ("optimiser: {warmup_fractoin: 0.1}", "optimiser.warmup_fractoin", "warmup_fraction"),
        ("windows: {overlap_token: 8}", "windows.overlap_token", "overlap_tokens"),
        ("normalization: {diacritic: true}", "normalization.diacritic", "diacritics"),
        ("sede: 3", "sede", "seed"),
        ("mixing: {temprature: 2}", "mixing.temprature", "temperature"),
        ("export: {quantization: static}", "export.quantization", "quantisation"),
    ],
)
def test_an_unknown_key_names_file_key_and_a_near_one(
    tmp_path: Path, line: str, place: str, guess: str
) -> None:
    path = write(tmp_path, MINIMAL + line)
    with pytest.raises(ConfigError) as caught:
        load_recipe(path)
    assert str(caught.value) == f"{path}: unknown key {place}; did you mean {guess}?"


def test_an_unknown_key_like_no_other_is_told_the_known_ones(tmp_path: Path) -> None:
    path = write(tmp_path, MINIMAL + "خبر: 1")
    with pytest.raises(ConfigError, match=r"unknown key خبر; known here: name, version, encoder"):
        load_recipe(path)


def test_two_mistakes_are_told_at_once(tmp_path: Path) -> None:
    path = write(tmp_path, MINIMAL + "windows: {sise: 4}\noptimiser: {epochs: -1}")
    with pytest.raises(
        ConfigError, match=r"windows\.sise.*optimiser\.epochs.*greater than or equal to 0"
    ):
        load_recipe(path)


def test_a_guess_is_a_key_of_the_same_place(tmp_path: Path) -> None:
    text = MINIMAL.replace("labels: fine", "labels: fine, epoch: 3")
    with pytest.raises(ConfigError) as caught:
        load_recipe(write(tmp_path, text))
    assert "unknown key heads.khabar.epoch; known here: kind, labels, loss_weight" in str(
        caught.value
    )


@pytest.mark.parametrize(
    ("text", "words"), [("seed: [", "not YAML"), ("", "NoneType where a mapping"), ("- 1", "list")]
)
def test_what_is_no_mapping_is_refused(tmp_path: Path, text: str, words: str) -> None:
    path = write(tmp_path, text)
    with pytest.raises(ConfigError, match=rf"mine\.yaml: .*{words}"):
        load_recipe(path)


def test_a_missing_file_says_where_the_shipped_ones_are(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"none\.yaml: no such file.*configs/"):
        load_recipe(tmp_path / "none.yaml")


def test_an_override_replaces_one_value_and_no_other(tmp_path: Path) -> None:
    path = write(tmp_path, MINIMAL + "optimiser: {epochs: 7, dropout: 0.2}")
    overrides = [
        "optimiser.epochs=3",
        "optimiser.learning_rate=1e-5",
        "sources.0.passes=2.5",
        "heads.khabar.class_weights=true",
        "tracking.report_to=[tensorboard]",
        "encoder.revision=v2",
    ]
    plain, recipe = load_recipe(path), load_recipe(path, overrides)
    assert (recipe.optimiser.epochs, recipe.optimiser.learning_rate) == (3, 1e-5)
    assert recipe.sources[0].passes == 2.5 and recipe.heads["khabar"].class_weights
    assert recipe.tracking.report_to == ("tensorboard",) and recipe.encoder.revision == "v2"
    back = [
        "optimiser.epochs=7",
        "optimiser.learning_rate=2e-4",
        "sources.0.passes=1",
        "heads.khabar.class_weights=false",
        "tracking.report_to=[]",
        "encoder.revision=null",
    ]
    assert load_recipe(path, [*overrides, *back]) == plain


@pytest.mark.parametrize(
    ("override", "text"),
    [('version="1.0"', "1.0"), ('name="2024"', "2024"), ("name='1e5'", "1e5")],
)
def test_an_override_in_quotation_marks_is_text(tmp_path: Path, override: str, text: str) -> None:
    recipe = load_recipe(write(tmp_path, MINIMAL), [override])
    assert getattr(recipe, override.partition("=")[0]) == text


@pytest.mark.parametrize("revision", ["7e12345", '"7e12345"', "7e12"])
def test_a_revision_that_reads_like_a_number_is_text(tmp_path: Path, revision: str) -> None:
    recipe = load_recipe(write(tmp_path, MINIMAL), [f"encoder.revision={revision}"])
    assert recipe.encoder.revision == revision.strip('"')


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("optimiser.epochs", "give key=value"),
        ("optimiser..epochs=3", "give key=value"),
        ("optimiser.epochs=three", "optimiser.epochs: .*valid integer.*got 'three'"),
        ("optimiser.epochs=-1", "greater than or equal to 0, got -1"),
        ("optimiser.epoch=3", "unknown key optimiser.epoch; did you mean epochs"),
        ("sources.4.passes=2", "'4' is no place in a list of 1; use 0 to 0"),
        ("sources.first=2", "'first' is no place in a list"),
        ("name.first=2", "name holds a value, not settings"),
        ("name.first.second=2", "nothing below a plain value"),
        ("seed=[1", "is not YAML"),
        ("seed=1.5", "seed: .*got 1.5"),
        ("optimiser.learning_rate=1e999", "finite number"),
    ],
)
def test_an_override_that_does_not_fit_is_named(tmp_path: Path, override: str, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        load_recipe(write(tmp_path, MINIMAL), [override])


def test_a_file_extends_another_beside_it(tmp_path: Path) -> None:
    write(tmp_path, MINIMAL + "optimiser: {epochs: 7, dropout: 0.2}\n", "base.yaml")
    text = "extends: base.yaml\nencoder: {trim: true}\noptimiser: {epochs: 2}\n"
    recipe = load_recipe(write(tmp_path, text))
    assert recipe.encoder.source == "tiny" and recipe.encoder.trim
    assert (recipe.optimiser.epochs, recipe.optimiser.dropout) == (2, 0.2)
    assert [source.corpus for source in recipe.sources] == ["seed"]


def test_files_that_extend_each_other_are_refused(tmp_path: Path) -> None:
    write(tmp_path, "extends: mine.yaml", "other.yaml")
    with pytest.raises(ConfigError, match="extends itself"):
        load_recipe(write(tmp_path, "extends: other.yaml"))


def test_settings_of_any_kind_are_read_alike(tmp_path: Path) -> None:
    path = write(tmp_path, MINIMAL)
    assert load_settings(path, Recipe) == load_recipe(path)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (MINIMAL + "name: again", "key 'name' stands there twice"),
        (MINIMAL.replace("name: try", "name: ../../elsewhere"), "name: String should match"),
        (MINIMAL.replace("name: try", "name: 2024-13-45"), "not YAML .month must be"),
        (MINIMAL.replace("{khabar: {", "{a/b: {"), r"heads.a/b.*should match"),
        (MINIMAL.replace("labels: fine", "labels: []"), "at least one label, each once"),
        (MINIMAL.replace("labels: fine", "labels: [A, A]"), "at least one label, each once"),
        (
            MINIMAL.replace("labels: fine", "labels: fine, mirrored: true"),
            r"heads.khabar: .*mirrored reads .* a nested head of unit window, .*no such pair",
        ),
        (
            MINIMAL.replace(
                "kind: nested, labels: fine",
                "kind: pair, labels: stances, unit: sentence, mirrored: true",
            ),
            r"heads.khabar: .*mirrored reads .*labels stances, has no such pair",
        ),
        (MINIMAL + "optimiser: {learning_rate: .inf}", "finite number"),
        (MINIMAL + "windows: {size: 40, overlap_tokens: 32}", "less than half of size - 2"),
        (MINIMAL + "windows: {size: 41, overlap_tokens: 19}", "less than half of size - 2"),
        (MINIMAL + "windows: {pair_max_pieces: 161}", "need at least 192"),
        (MINIMAL + "seed: -1", "greater than or equal to 0"),
        (MINIMAL.replace("[{corpus: seed, head: khabar}]", "[]"), "at least 1 item"),
        ("extends: [a, b]", "extends names one file"),
        ("[" * 3000, "not YAML"),
    ],
)
def test_what_would_go_wrong_later_is_refused_at_once(
    tmp_path: Path, text: str, words: str
) -> None:
    with pytest.raises(ConfigError, match=words) as caught:
        load_recipe(write(tmp_path, text))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("heads.khabar.unit=sentence", "combine and unit are of heads of pairs"),
        ("heads.khabar.combine=most_decided", "combine and unit are of heads of pairs"),
        ("sources=[{corpus: seed, head: khabar, annotates: []}]", r"annotates.*at least 1 item"),
    ],
)
def test_a_setting_that_would_do_nothing_is_refused(
    tmp_path: Path, override: str, words: str
) -> None:
    with pytest.raises(ConfigError, match=words):
        load_recipe(write(tmp_path, MINIMAL), [override])
