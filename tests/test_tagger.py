"""The Tagger's promise: exact offsets into the text as received, whatever the text."""

from __future__ import annotations

from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
from conftest import RandomBackend
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from annotations.labels import label_schema
from annotations.schema import Document, Span, crossing_pairs
from annotations.seed import seed_text
from annotations.text import words
from serving.bundle import DEFAULT_FOLDER, MANIFEST, Bundle, BundleError, Head
from serving.decoding import TaggedSpan
from serving.prediction import Article, Prediction
from serving.runtime import Floats, Ints
from serving.tagger import Tagger, confidence

WRITTEN = "أوصلت القوات العراقية وبالبوكمال في سوريا، 2017."


@pytest.fixture(scope="module", params=["smoke", "shipped"])
def tagger(request: pytest.FixtureRequest, smoke_bundle: Path) -> Tagger:
    """Random scores behind a real tokenizer: entities of all kinds everywhere."""
    if request.param == "shipped" and not (DEFAULT_FOLDER / MANIFEST).is_file():
        pytest.skip("no default bundle is installed")
    bundle = Bundle.load(smoke_bundle if request.param == "smoke" else DEFAULT_FOLDER)
    return Tagger(bundle, RandomBackend(bundle.manifest.heads))


@pytest.fixture(scope="module")
def real(smoke_bundle: Path) -> Tagger:
    return Tagger.from_bundle(smoke_bundle, threads=1)


def check(text: str, prediction: Prediction) -> None:
    """All that is promised of any answer."""
    if prediction.error is not None:
        assert prediction.error.startswith("text ") and prediction.entities == ()
        return
    entities = prediction.entities
    assert [entity.id for entity in entities] == [f"e{i + 1}" for i in range(len(entities))]
    by_id = {entity.id: entity for entity in entities}
    for entity in entities:
        assert 0 <= entity.start < entity.end <= len(text)
        assert text[entity.start : entity.end] == entity.text
        assert entity.text == entity.text.strip() and entity.normalized.strip()
        assert entity.label in label_schema().entities
        assert 0 <= entity.confidence <= 1
        owner = by_id[entity.mention_of]
        assert owner.mention_of == owner.id and owner.label == entity.label
    spans = tuple(Span(entity.start, entity.end, entity.label) for entity in entities)
    assert len(set(spans)) == len(spans)
    assert [(span.start, -span.end) for span in spans] == sorted((s.start, -s.end) for s in spans)
    assert crossing_pairs(spans) == []
    inside_a_word = {i for start, end in words(text) for i in range(start, end)}
    assert {span.start for span in spans} <= inside_a_word
    assert {span.end for span in spans} <= {end for _, end in words(text)}


SLOW = settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


@SLOW
@given(text=st.text(st.characters(exclude_categories=["Cs"]), max_size=80))
def test_offsets_are_exact_on_any_unicode(tagger: Tagger, text: str) -> None:
    check(text, tagger.tag([text])[0])


ARABIC = st.lists(
    st.one_of(
        st.sampled_from(WRITTEN.split()),
        st.text("ابتثجحخدذرزسشصضطظعغفقكلمنهويأإآٱىةءؤئپچگ", min_size=1, max_size=8),
        st.text("\u064b\u064c\u064d\u064e\u064f\u0650\u0651\u0652\u0670\u0653\u06e1", max_size=3),
        st.text("ـ", max_size=4),
        st.text(st.characters(min_codepoint=0xFB50, max_codepoint=0xFDFF), max_size=3),
        st.text(st.characters(min_codepoint=0xFE70, max_codepoint=0xFEFF), max_size=6),
        st.sampled_from(["😀", "👍🏽", "👩‍👩‍👧", "🇮🇶", "﷽", "ﷺ", "①", "½", "ﬁ", "e\u0301", "𝒳"]),
        st.text("\u200b\u200c\u200d\u200e\u200f\u202a\u202b\u202c\u202e\u2066\u2067\u2069\u061c\ufeff"),
        st.text("\x00\x01\x1b\x7f\x85\u2028\u2029\r\n\t\u00a0\u3000 ", min_size=1, max_size=3),
        st.sampled_from(["«", "»", "،", "؛", "؟", ".", "…", "(", "%", "٪", "-", "<s>", "</s>"]),
        st.sampled_from(["3,5", "٢٠١٧", "1.234", "و2017", "ب١٠٪", "2017م"]),
    ),
    max_size=40,
)  # fmt: skip


@SLOW
@given(parts=ARABIC, glue=st.sampled_from(["", " "]))
def test_offsets_are_exact_on_arabic_as_it_is_written(
    tagger: Tagger, parts: list[str], glue: str
) -> None:
    text = glue.join(parts)
    check(text, tagger.tag([text])[0])


@pytest.mark.parametrize(
    "text",
    [
        "وَصَلَتِ القُوّاتُ العِراقِيَّةُ إلى البُوكَمَالِ",
        "العـــــراق والقائـــم وللبوكمـــال",
        "ﺍﻟﻌﺮﺍﻕ ﻭﺳﻮﺭﻳﺎ ﻻ ﷺ",
        "😀القوات😀 العراقية 👩‍👩‍👧 🇮🇶 حمص👍🏽",
        "قال \u202bالجيش\u202c \u2067حمص\u2069 \u200fدمشق\u200f",
        "حمص\x00دمشق\x00\x00 حلب",
        "e\u0301tat ﬁn ½ ① 𝒳",
        "\ufeffوصلت القوات\r\n\r\nإلى القائم\u2028ثم\u00a0البوكمال",
        f"\u064b{WRITTEN}\u064b",
        " ".join([WRITTEN] * 60),
    ],
)
def test_entities_are_found_and_exact(tagger: Tagger, text: str) -> None:
    for _ in range(3):
        (prediction,) = tagger.tag([text])
        assert prediction.error is None and prediction.entities
        check(text, prediction)


@pytest.mark.parametrize("text", ["", " ", " \n\t\r\u00a0\u3000", "\u2028"])
def test_an_empty_article_is_an_error(tagger: Tagger, text: str) -> None:
    assert tagger.tag([text]) == [
        Prediction(None, error="text is empty; send the words of the article")
    ]


@pytest.mark.parametrize("text", ["ـــ", "\u064b \u064c", "\u200b\u200f", "\x00", "\x00 ـ"])
def test_an_article_of_marks_alone_is_an_error(tagger: Tagger, text: str) -> None:
    (prediction,) = tagger.tag([Article(text, "a", targets=("حمص",), claims=("حمص",))])
    assert prediction == Prediction("a", error=prediction.error)
    assert "no word" in str(prediction.error)


def test_tokens_are_those_of_the_text_and_its_title_whatever_is_asked(real: Tagger) -> None:
    def tokens(*articles: Article) -> list[int]:
        return [prediction.tokens for prediction in real.tag(articles)]

    long = " ".join([WRITTEN] * 60)  # in several windows, which overlap
    pieces = [len(real.reader.encoder.pieces(text)) for text in (WRITTEN, long)]
    asked = Article(WRITTEN, targets=("القوات",), claims=("وصلت القوات",))
    assert tokens(asked, Article(long)) == pieces and pieces[1] == 60 * pieces[0]
    assert tokens(Article(long, title=WRITTEN), Article("")) == [sum(pieces), 0]


@pytest.mark.parametrize("text", ["NATO said so in Москва.", "中文 新聞", "...", "😀😀", "123 456"])
def test_what_is_not_arabic_is_read_all_the_same(real: Tagger, text: str) -> None:
    (prediction,) = real.tag([text])
    assert prediction.error is None
    check(text, prediction)


def test_each_bad_article_fails_alone_and_in_its_place(real: Tagger) -> None:
    good = Article(WRITTEN, "جيد")
    bad = [
        (Article("", "empty"), "text is empty"),
        (Article("  ", "spaces"), "text is empty"),
        (Article("حمص\ud83d", "lone"), r"text: lone surrogate U+D83D at code point 3"),
        (Article(WRITTEN, "title", title="\udc00"), "title: lone surrogate U+DC00"),
        (Article(WRITTEN, "target", targets=("حمص", "\ud800")), "targets[1]: lone surrogate"),
        (Article(WRITTEN, "claim", claims=("\ud800",)), "claims[0]: lone surrogate"),
        (Article("ا" * 51, "long"), "text has 51 code points; the limit is 50"),
        (Article("ا", "headed", title="ا" * 51), "title has 51 code points; the limit is 50"),
    ]
    asked = [good]
    for article, _ in bad:
        asked += [article, good]
    found = real.tag(asked, max_code_points=50)
    assert [prediction.id for prediction in found] == [article.id for article in asked]
    assert {str(prediction) for prediction in found[::2]} == {str(real.tag([good])[0])}
    assert found[0].error is None
    for prediction, (article, words_of_error) in zip(found[1::2], bad, strict=True):
        assert prediction == Prediction(article.id, error=prediction.error)
        assert words_of_error in str(prediction.error)
        assert WRITTEN not in str(prediction.error)


def test_the_limit_is_the_last_length_that_is_taken(real: Tagger) -> None:
    longest = Article("ا" * 50, title="ا" * 50)
    assert real.tag([longest], max_code_points=50)[0].error is None
    assert real.tag(["ا" * 51])[0].error is None  # the Tagger itself has none


def test_no_articles_give_no_predictions(real: Tagger) -> None:
    assert real.tag([]) == []


def test_an_answer_does_not_depend_on_the_neighbours(
    real: Tagger, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("serving.tagger.GROUP_CODE_POINTS", 500)  # several groups, some of several
    texts = [seed_text()[i : i + 30 + 97 * i] for i in range(0, 24)]
    articles = [Article(t, str(i), targets=("القوات",)) for i, t in enumerate(texts)]
    together = real.tag(articles)
    assert together == [real.tag([article])[0] for article in articles]
    assert together == real.tag(articles[::-1])[::-1]


def test_strings_documents_and_articles_are_read_alike(real: Tagger) -> None:
    document = Document("d7", WRITTEN, entities=(Span(0, 5, "GPE"),), topic="sports")
    plain, of_document, of_article = real.tag([WRITTEN, document, Article(WRITTEN, "a")])
    assert (plain.id, of_document.id, of_article.id) == (None, "d7", "a")
    assert plain.entities == of_document.entities == of_article.entities
    assert plain.topics == of_document.topics == of_article.topics


def test_a_title_informs_the_topic_and_is_never_tagged(real: Tagger) -> None:
    title = "فوز منتخب كرة القدم"
    without, titled = real.tag([Article(WRITTEN), Article(WRITTEN, title=title)])
    assert titled.entities == without.entities
    assert titled.topics[0].confidence != without.topics[0].confidence


def test_a_title_weighs_as_much_as_its_length(real: Tagger) -> None:
    texts = [seed_text(), "فوز منتخب كرة القدم"]
    readings = [real.reader.read(text) for text in texts]
    (head,) = real.reader.text_heads
    logits = [reading.texts[head.name] for reading in readings]
    sizes = [len(reading.encoded.pieces) for reading in readings]
    mean = (logits[0] * sizes[0] + logits[1] * sizes[1]) / sum(sizes) / head.temperature
    expected = np.exp(mean) / np.exp(mean).sum()
    (prediction,) = real.tag([Article(texts[0], title=texts[1])])
    assert prediction.topics[0].label == head.labels[int(expected.argmax())]
    assert prediction.topics[0].confidence == pytest.approx(expected.max(), abs=1e-3)


@pytest.mark.parametrize("title", ["", " ", "ـــ", "\u064b", "\x00"])
def test_a_title_that_says_nothing_changes_nothing(real: Tagger, title: str) -> None:
    assert real.tag([Article(WRITTEN, title=title)]) == real.tag([Article(WRITTEN)])


def test_the_topic_is_one_of_the_schema(real: Tagger) -> None:
    (topic,) = real.tag([seed_text()])[0].topics
    assert topic.label in label_schema().topics
    assert 1 / len(label_schema().topics) <= topic.confidence <= 1


def test_automatic_targets_are_actors_of_the_article(tagger: Tagger) -> None:
    (prediction,) = tagger.tag([Article(seed_text()[:600], targets="auto")])
    actors = {e.normalized for e in prediction.entities if e.label in ("PERS", "ORG", "NORP")}
    targets = [stance.about for stance in prediction.stances]
    assert 0 < len(targets) <= 5
    assert set(targets) <= actors


def test_a_name_that_leaves_no_room_for_the_text_is_no_automatic_target(
    default_tagger: Tagger,
) -> None:
    """All else that was read of the article stays."""
    text = "قالت القوات العراقية إنها دخلت بغداد. " + "محمد" * 100
    plain, asked = default_tagger.tag([text, Article(text, targets="auto")])
    assert any(len(entity.text) == 400 for entity in plain.entities)
    assert (asked.error, asked.entities) == (None, plain.entities)
    assert {stance.about for stance in asked.stances} == {"القوات العراقية"}


def test_nothing_is_asked_unless_asked_for(real: Tagger) -> None:
    (prediction,) = real.tag([seed_text()])
    assert prediction.stances == prediction.claims == ()


class MarkerBackend:
    """Begins an entity at every piece whose id is a multiple of five; its type goes by the id."""

    def __init__(self, heads: tuple[Head, ...]) -> None:
        self.heads = heads

    def run(self, ids: Ints, mask: Ints, segments: Ints) -> dict[str, Floats]:
        outputs = {}
        for head in self.heads:
            shape = (*ids.shape, head.width) if head.kind in ("nested", "flat") else (len(ids), 7)
            outputs[head.name] = np.zeros(shape, np.float32)
        nested = outputs["khabar"].reshape(*ids.shape, 21, 3)
        nested[..., 0] = 4
        rows, columns = np.nonzero(ids % 5 == 0)
        nested[rows, columns, ids[rows, columns] % 21, 1] = 9
        return outputs


def test_a_megabyte_passes_with_every_entity_in_its_place(smoke_bundle: Path) -> None:
    bundle = Bundle.load(smoke_bundle)
    tagger = Tagger(bundle, MarkerBackend(bundle.manifest.heads))
    text = (f"{seed_text()} 😀 " * 300).encode()[:1_000_000].decode(errors="ignore")
    (prediction,) = tagger.tag([text])
    assert len(prediction.entities) > 10_000
    assert all(text[e.start : e.end] == e.text for e in prediction.entities)
    last = prediction.entities[-1]
    assert last.end > len(text) - 500  # nothing is cut silently at the end
    assert last.id == f"e{len(prediction.entities)}"


def test_an_article_of_hundreds_of_windows_is_read_by_the_real_model(real: Tagger) -> None:
    text = f"{seed_text()} " * 30
    (prediction,) = real.tag([text])
    assert prediction.error is None
    check(text, prediction)


def test_heads_of_public_corpora_leave_clitics_attached(tagger: Tagger) -> None:
    found = {"khabar": False, "anercorp": False}
    bounds = {start for start, _ in words(WRITTEN)}
    for name in found:
        for _ in range(30):
            (spans,) = tagger.spans([WRITTEN], name)
            assert all(0 <= chance <= 1 for _, chance in spans)
            found[name] |= any(span.start not in bounds for span, _ in spans)
    assert found == {"khabar": True, "anercorp": False}  # وبالبوكمال begins two letters later


def test_an_unknown_head_is_an_error_that_lists_the_heads(real: Tagger) -> None:
    with pytest.raises(BundleError, match="no head 'wojood'; this bundle has khabar, anercorp"):
        real.spans([WRITTEN], "wojood")


@pytest.mark.parametrize(
    ("score", "slope", "intercept", "expected"),
    [
        (0.8, 1.0, 0.0, 0.8),  # uncalibrated: as it is
        (0.5, 3.0, 0.0, 0.5),
        (0.8, 1.0, -1.3862944, 0.5),  # log 4 is taken off
        (0.9, 2.0, 0.0, 81 / 82),
    ],
)
def test_confidence_is_platt_scaled(
    score: float, slope: float, intercept: float, expected: float
) -> None:
    head = Head(name="x", kind="nested", labels=("GPE",), slope=slope, intercept=intercept)
    assert confidence(TaggedSpan(0, 1, "GPE", score), head) == pytest.approx(expected, abs=1e-6)


def test_confidence_grows_with_the_score_and_stays_a_probability() -> None:
    head = Head(name="x", kind="nested", labels=("GPE",), slope=0.7, intercept=0.2)
    found = [
        confidence(TaggedSpan(0, 1, "GPE", score), head)
        for score in (0.0, 1e-9, 0.01, 0.5, 0.99, 1.0)
    ]
    assert all(0 < chance < 1 for chance in found)
    assert all(low <= high for low, high in combinations(found, 2))
