"""Batches: one head each, within the budget, planned once and for all; and their tensors."""

from collections import Counter
from dataclasses import asdict

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from serving.bundle import Head
from training.batches import Collator, PlannedBatches, SourceExamples
from training.examples import Example

KHABAR = Head(name="khabar", kind="nested", labels=("PERS", "GPE"))
ANERCORP = Head(name="anercorp", kind="flat", labels=("PERS",))
TOPIC = Head(name="topic", kind="text", labels=("politics", "sports"))


@st.composite
def plans(draw: st.DrawFn) -> tuple[list[SourceExamples], list[int]]:
    """Sources of three heads over consecutive rows, and the length of every row."""
    sources, first = [], 0
    for head in draw(st.lists(st.sampled_from("abc"), min_size=1, max_size=5)):
        count = draw(st.integers(1, 30))
        sources.append(
            SourceExamples(head, range(first, first + count), draw(st.integers(1, 3)), None)
        )
        first += count
    return sources, draw(st.lists(st.integers(3, 200), min_size=first, max_size=first))


@given(plans(), st.integers(1, 3), st.integers(64, 600))
@settings(max_examples=60, deadline=None)
def test_every_batch_is_of_one_head_within_the_budget_and_every_pass_is_there(
    plan: tuple[list[SourceExamples], list[int]], epochs: int, max_tokens: int
) -> None:
    sources, lengths = plan
    head_of = {row: source.head for source in sources for row in source.rows}
    batches = list(PlannedBatches(sources, lengths, epochs, max_tokens, seed=13))
    for batch in batches:
        assert len({head_of[row] for row in batch}) == 1
        # lengths are blurred by a tenth when batches are cut
        assert len(batch) == 1 or len(batch) * max(lengths[r] for r in batch) <= max_tokens / 0.9
    seen = Counter(row for batch in batches for row in batch)
    assert seen == {row: epochs * source.passes for source in sources for row in source.rows}


def test_an_epoch_ends_where_all_its_rows_are_seen() -> None:
    sources = [SourceExamples("a", range(40), 1), SourceExamples("b", range(40, 50), 2)]
    plan = PlannedBatches(sources, [20] * 50, 3, 200, seed=1)
    assert len(plan) == len(list(plan)) == plan.epoch_ends[-1]
    for start, end in zip([0, *plan.epoch_ends], plan.epoch_ends, strict=False):
        seen = Counter(row for batch in plan.batches[start:end] for row in batch)
        assert seen == {row: 1 + (row >= 40) for row in range(50)}


def test_the_same_seed_plans_the_same_and_another_seed_or_epoch_does_not() -> None:
    sources = [SourceExamples("a", range(60), 1), SourceExamples("b", range(60, 90), 1)]
    lengths = [10 + row % 7 for row in range(90)]
    first, again, other = (
        PlannedBatches(sources, lengths, 2, 120, seed).batches for seed in (13, 13, 14)
    )
    assert first == again
    assert first != other
    middle = PlannedBatches(sources, lengths, 2, 120, 13).epoch_ends[0]
    assert first[:middle] != first[middle:]


def test_batches_hold_like_lengths() -> None:
    lengths = [10] * 50 + [100] * 50
    plan = PlannedBatches([SourceExamples("a", range(100), 1)], lengths, 1, 1000, seed=0)
    mixed = [batch for batch in plan if len({lengths[row] for row in batch}) > 1]
    assert len(mixed) <= 1


@pytest.mark.parametrize(("per_class", "expected"), [(2, [2, 2, 1]), (100, [7, 3, 1])])
def test_per_class_draws_so_many_of_each_class_and_no_more_than_there_are(
    per_class: int, expected: list[int]
) -> None:
    classes = [0] * 7 + [1] * 3 + [2]
    source = SourceExamples("topic", range(100, 111), 1, per_class, classes)
    plan = PlannedBatches([source], [10] * 111, 4, 50, seed=5)
    draws = []
    for start, end in zip([0, *plan.epoch_ends], plan.epoch_ends, strict=False):
        rows = [row for batch in plan.batches[start:end] for row in batch]
        assert len(rows) == len(set(rows))
        counts = Counter(classes[row - 100] for row in rows)
        assert [counts[label] for label in range(3)] == expected
        draws.append(frozenset(rows))
    assert len(set(draws)) > 1 or per_class == 100  # another draw each epoch


def row(head: str, pieces: int, labels: list[int], segment: int = 1) -> dict[str, object]:
    segments = [0, *[segment] * (pieces - 2), 0]
    ids = list(range(5, 5 + pieces))
    return asdict(Example(ids, segments, labels, head, "s"))


def test_a_batch_is_padded_with_the_pad_piece_no_segment_and_ignored_labels() -> None:
    collate = Collator([KHABAR, ANERCORP, TOPIC], pad=1)
    batch = collate(
        [row("anercorp", 5, [-100, 1, 2, 0, -100]), row("anercorp", 3, [-100, 1, -100])]
    )
    assert batch["input_ids"].tolist() == [[5, 6, 7, 8, 9], [5, 6, 7, 1, 1]]
    assert batch["attention_mask"].tolist() == [[1] * 5, [1, 1, 1, 0, 0]]
    assert batch["segments"].tolist() == [[0, 1, 1, 1, 0], [0, 1, 0, 0, 0]]
    assert batch["labels"].tolist() == [[-100, 1, 2, 0, -100], [-100, 1, -100, -100, -100]]
    assert batch["head_index"].item() == 1


def test_nested_labels_keep_their_columns_side_by_side() -> None:
    collate = Collator([KHABAR], pad=0)
    short, long = [-100, -100, 1, 0, -100, -100], [-100, -100, 0, 1, 2, 2, -100, -100]
    labels = collate([row("khabar", 3, short), row("khabar", 4, long)])["labels"]
    assert labels.reshape(2, 4, 2)[0, 1].tolist() == [1, 0]
    assert labels.reshape(2, 4, 2)[1, 1:3].tolist() == [[0, 1], [2, 2]]
    assert labels.reshape(2, 4, 2)[0, 3].tolist() == [-100, -100]


def test_texts_have_one_label_each() -> None:
    batch = Collator([KHABAR, TOPIC], pad=1)([row("topic", 4, [1]), row("topic", 6, [0])])
    assert batch["labels"].tolist() == [1, 0]
    assert batch["labels"].dtype == torch.int64
    assert batch["head_index"].item() == 1


def test_half_a_pass_draws_another_half_each_epoch() -> None:
    plan = PlannedBatches([SourceExamples("a", range(40), 0.5)], [20] * 40, 2, 200, seed=1)
    first, second = (
        {row for batch in batches for row in batch}
        for batches in (plan.batches[: plan.epoch_ends[0]], plan.batches[plan.epoch_ends[0] :])
    )
    assert len(first) == len(second) == 20 and first != second
    more = PlannedBatches([SourceExamples("a", range(40), 2.25)], [20] * 40, 1, 200, seed=1)
    seen = Counter(row for batch in more for row in batch)
    assert sorted(seen.values()) == [2] * 30 + [3] * 10


@pytest.mark.parametrize("temperature", [1.0, 2.0, 5.0, 1e6])
def test_temperature_levels_the_sources_and_keeps_their_sum(temperature: float) -> None:
    sizes = [1000, 100, 10]
    sources, first = [], 0
    for name, size in zip("abc", sizes, strict=True):
        sources.append(SourceExamples(name, range(first, first + size), 1))
        first += size
    plan = PlannedBatches(sources, [10] * first, 1, 100, 1, temperature)
    rows = [row for batch in plan for row in batch]
    counts = [sum(row in source.rows for row in rows) for source in sources]
    shares = [size ** (1 / temperature) for size in sizes]
    for count, share in zip(counts, shares, strict=True):
        assert count == pytest.approx(sum(sizes) * share / sum(shares), abs=1)
    assert set(rows) >= set(sources[2].rows)  # the smallest is whole at any temperature


def test_a_plan_may_end_early_and_knows_its_epochs() -> None:
    sources = [SourceExamples("a", range(40), 1)]
    whole = PlannedBatches(sources, [20] * 40, 3, 200, seed=1)
    short = PlannedBatches(sources, [20] * 40, 3, 200, seed=1, max_steps=6)
    assert short.batches == whole.batches[:6]
    end = whole.epoch_ends[0]
    assert short.epoch_ends == [end, 6] and 1 < 6 < 2 * end
    assert whole.epoch_of(0) == 0 and whole.epoch_of(end) == 1
    assert whole.epoch_of(end + 1) == pytest.approx(1 + 1 / (whole.epoch_ends[1] - end))
    assert whole.epoch_of(len(whole)) == 3


def test_batches_of_a_silent_source_bring_what_its_words_may_be() -> None:
    head = Head(name="anercorp", kind="flat", labels=("PERS", "LOC"))
    silent = torch.tensor([True, False, False, True, True])
    other = Head(name="khabar", kind="nested", labels=("PERS",))
    collate = Collator([head, other], pad=1, unknown={("anercorp", "wikifane"): silent})
    known = asdict(Example([0, 5, 2], [0, 1, 0], [-100, 1, -100], "anercorp", "anercorp"))
    partial = known | {"source": "wikifane", "labels": [-100, -101, -100]}
    assert "unknown" not in collate([known, known])
    batch = collate([known, partial])
    assert batch["unknown"].shape == (6, 5)
    assert (batch["unknown"][3:] == silent).all()
    assert batch["unknown"][:3].sum() == 3 and batch["unknown"][:3, 0].all()
    assert "unknown" not in collate([partial | {"head": "khabar"}])  # another head, wholly taught
