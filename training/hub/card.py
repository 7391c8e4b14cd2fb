"""The card of a published folder: how to call it, what it is beside khabar's own head, its scores
and terms.
"""

from __future__ import annotations

from typing import Any, Literal

from serving.bundle import Head, Manifest
from training.export.card import data_table, terms
from training.export.model_index import front_matter
from training.hub.scores import PUNCTUATION
from training.settings import Windows

Row = dict[str, Any]
View = Literal["exact", "flat view", "distilled"]
_WORDS = """\
```python
import re
from transformers import pipeline

read = pipeline(
    "token-classification", model=FOLDER, aggregation_strategy="first", stride={overlap}
)
text = "أعلن وزير الخارجية السوري، في دمشق أمس، بدء المحادثات."
text = re.sub(r'({punctuation})', r" \\1 ", text)
for entity in read(text):
    if not text[entity["end"] :][:1].isalnum():
        print(entity["entity_group"], text[entity["start"] : entity["end"]], entity["score"])
```

The pipeline's words are what spaces separate, and `aggregation_strategy="first"` gives each the tag
of its first piece, as in training: without the line that puts spaces around punctuation, a comma
that touches a name becomes part of it. The `if` leaves out half words: of a word whose first piece
is a lone "▁" the pipeline makes two. `stride` has long texts read in windows; without it the
pipeline cuts them off. Scores are plain probabilities, not calibrated. Clitics stay where the text
has them."""
_TEXT = """\
```python
from transformers import pipeline

read = pipeline("text-classification", model=FOLDER, truncation=True)
print(read("فاز المنتخب بكأس الأمم بعد مباراة مثيرة"))
```

With `truncation=True` a text is read for its first {length} pieces, as in training."""
_PAIR = """\
```python
from transformers import pipeline

read = pipeline("text-classification", model=FOLDER, truncation="only_second")
print(read({{"text": "{about}", "text_pair": "قال الوزير إن القرار خاطئ"}}))
```

`text` is the {first}, `text_pair` the passage that is judged for it; together they are read for
{length} pieces. The tokenizer gives no `token_type_ids`, and none are to be added: the encoder was
trained with type 0 for both."""
_VIEWS = {
    "exact": "The weights are those of the head `{head}` as it was trained: encoder and classifier "
    "give its logits.",
    "flat view": "The head `{head}` is nested: for each of its types it has a choice of its own "
    "between O, B and I, so that names may stand in names. Here it is one flat choice, by an "
    "exact linear map: the logit of O is 0, of B-T it is B - O of type T, of I-T it is I - O. A "
    "word gets the type with the largest margin over its own O, and **one type only**: of names "
    "inside names one is lost. khabar's own bundle gives them all.",
    "distilled": "The head `{head}` reads the mean of a text's pieces; a plain classifier of "
    "transformers reads the first piece, and no map of weights leads from one to the other. So "
    "this classifier was **distilled**: a copy of the trained encoder that learnt to give the "
    "head's calibrated probabilities on the head's own training texts. It is another model, as "
    "near as the table below says.",
}


def hub_card(
    manifest: Manifest, head: Head, view: View, scores: list[Row], windows: Windows, length: int
) -> str:
    """Markdown with the hub's front matter, for the folder of one head; `length` is in pieces."""
    words = head.kind in ("nested", "flat")
    only = manifest.model_copy(update={"heads": (head,)})
    name = f"{manifest.name}-{head.name}"
    parts = [
        front_matter(only, name, scores, words, "transformers"),
        f"# {name} {manifest.version}",
        f"Arabic news: the head `{head.name}` of {manifest.name}, for plain transformers. Encoder: "
        f"{manifest.encoder}. Labels: {', '.join(head.labels)}.",
        _usage(head, windows, length),
        "The tokenizer normalises as khabar does (NFKC, no tatweel, no invisible marks"
        + ("" if manifest.normalization.diacritics else ", no diacritics")
        + "), with offsets into the text as given.",
        "## What it is",
        _VIEWS[view].format(head=head.name),
        "## Scores",
        _score_text(view, scores),
        "## Terms",
        terms(manifest),
        "## Training data",
        data_table(manifest.data),
    ]
    return "\n\n".join(parts) + "\n"


def _usage(head: Head, windows: Windows, length: int) -> str:
    if head.kind in ("nested", "flat"):
        return _WORDS.format(overlap=windows.overlap_tokens, punctuation=PUNCTUATION)
    if head.kind == "text":
        return _TEXT.format(length=length)
    stance = "favor" in head.labels
    about, first = ("وزير الخارجية", "target") if stance else ("القرار صائب", "claim")
    return _PAIR.format(about=about, first=first, length=length)


def _score_text(view: View, scores: list[Row]) -> str:
    if not scores:
        return "Not measured: the development data was not there when this folder was written."
    if view != "distilled":
        rows = ["| split | items | F1 | 95 % interval | precision | recall |", "|---" * 6 + "|"]
        for row in scores:
            low, high = row["interval"]
            rows.append(
                f"| {row['split']} | {row['items']} | {row['f1']:.3f} | {low:.3f} to {high:.3f} "
                f"| {row['precision']:.3f} | {row['recall']:.3f} |"
            )
        return (
            "On development splits, as the pipeline above reads them, in float32; a span is right "
            "when its place and its label are.\n\n" + "\n".join(rows)
        )
    rows = [
        "| split | items | says the same as the head | accuracy | head's | macro F1 | head's |",
        "|---" * 7 + "|",
    ]
    for row in scores:
        ours = row["ours"]
        rows.append(
            f"| {row['split']} | {row['items']} | {row['agreement']:.3f} | {row['accuracy']:.3f} "
            f"| {ours['accuracy']:.3f} | {row['macro_f1']:.3f} | {ours['macro_f1']:.3f} |"
        )
    return (
        "On development splits (at most 400 documents of each, drawn at random), beside khabar's "
        "head on the same pieces.\n\n" + "\n".join(rows)
    )
