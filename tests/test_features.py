import itertools

import torch
from hypothesis import given
from hypothesis import strategies as st

from captum_heta.features import Features

# a few features over up to twelve tokens; -1: a token in no feature
assignments = st.lists(st.integers(-1, 4), min_size=1, max_size=12)


def built(assignment):
    return Features(tuple(tuple(i for i, owner in enumerate(assignment) if owner == group) for group in range(5)))


@given(assignments)
def test_sum_then_spread_gives_each_token_its_features_total(assignment):
    features = built(assignment)
    scores = torch.arange(1.0, len(assignment) + 1)
    spread = features.spread(features.sum(scores), len(assignment))
    for token, owner in enumerate(assignment):
        expected = sum(i + 1.0 for i, other in enumerate(assignment) if other == owner) if owner >= 0 else 0.0
        assert spread[token] == expected


@given(assignments)
def test_batches_hold_every_feature_with_tokens_once_and_in_order(assignment):
    features = built(assignment)
    batches = features.batches()
    assert all(1 <= len(batch) <= max(1, len(assignment) // 8) for batch in batches)
    order = [name for batch in batches for name in batch]
    assert sorted(order) == [i for i, group in enumerate(features.groups) if group]
    starts = [features.groups[name][0] for name in order]
    assert starts == sorted(starts)


@given(assignments, st.integers(0, 12))
def test_until_keeps_features_and_their_tokens_before_a_position(assignment, stop):
    features = built(assignment)
    assert features.until(stop).groups == built(assignment[:stop]).groups


def test_of_mask_orders_features_by_value():
    assert Features.of_mask(torch.tensor([7, 2, 7, 3])).groups == ((1,), (3,), (0, 2))


def test_merged_joins_groups():
    features = Features(((4,), (0,), (2, 3), ()))
    assert features.merged(torch.tensor([1, 0, 1, 5])).groups == ((0,), (2, 3, 4), ())


def test_of_spans_puts_a_border_token_where_most_of_it_lies():
    tokens = [(0, 0), (0, 4), (4, 9), (9, 10), (12, 14)]
    spans = [[(0, 5)], [(5, 10)], [(20, 22)]]
    assert Features.of_spans(spans, tokens).groups == ((1,), (2, 3), ())


@given(assignments, st.integers(1, 13), st.sampled_from([0.0, 0.25, 0.5, 0.9]))
def test_windows_cover_every_feature_with_tokens_in_order(assignment, size, overlap):
    features = built(assignment)
    windows = features.windows(size, overlap)
    order = features.by_first_token
    assert [name for name in order if any(name in window for window in windows)] == order
    for window in windows:
        start = order.index(window[0])
        assert window == order[start : start + len(window)]
        assert len(window) == 1 or sum(len(features.groups[name]) for name in window) <= size
    for before, after in itertools.pairwise(windows):
        assert order.index(before[0]) < order.index(after[0]) <= order.index(before[0]) + len(before)
        assert after[-1] not in before


def test_windows_overlap_by_half():
    features = Features.of_tokens(range(10))
    assert features.windows(4, 0.5) == [[0, 1, 2, 3], [2, 3, 4, 5], [4, 5, 6, 7], [6, 7, 8, 9]]
    assert features.windows(4, 0.0) == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9]]
    assert features.windows(10, 0.5) == features.windows(None, 0.5) == [list(range(10))]
    assert Features(()).windows(None, 0.5) == []


def test_mean_of_rows():
    features = Features(((0, 2), (), (1,)))
    scores = torch.tensor([[1.0, -5.0, 2.0, 9.0], [0.0, 0.5, 1.0, 9.0]])
    assert features.mean(scores).tolist() == [[1.5, 0.0, -5.0], [0.5, 0.0, 0.5]]


@given(assignments)
def test_mean_of_what_was_spread_is_itself(assignment):
    features = built(assignment)
    scores = torch.arange(1.0, 6.0)
    expected = [score if group else 0.0 for score, group in zip(scores.tolist(), features.groups, strict=True)]
    assert features.mean(features.spread(scores, len(assignment))).tolist() == expected
