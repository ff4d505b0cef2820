"""What drifted is found, what did not is left alone, and too little is not compared."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest

from facecore.analytics.drift import canaries, check, two_samples
from facecore.analytics.drift.check import Limits, Measurement
from facecore.analytics.drift.page import DriftReport, measure_in_words, render, sentences
from facecore.analytics.period import Period

LIMITS = Limits(
    psi=0.25, auc=0.65, score_shift=0.05, alpha=0.001, canary_tolerance=0.01, min_samples=100
)
WEEK = Period.days(pd.Timestamp("2026-03-02").date(), 7)


def histogram(values: np.ndarray, edges: np.ndarray) -> list[int]:
    return np.bincount(np.searchsorted(edges, values), minlength=len(edges) + 1).tolist()


def test_stability_is_the_index_of_the_textbook() -> None:
    # Ten bins of the reference's deciles, without smoothing, by hand.
    old, new = [100] * 10, [50] * 5 + [150] * 5
    expected = sum((b / 1000 - 0.1) * np.log(b / 1000 / 0.1) for b in new)
    found = two_samples.stability(old, new)
    assert found is not None
    assert found.value == pytest.approx(expected, rel=0.02)
    assert found.p_value < 1e-6


def test_stability_is_seldom_significant_without_a_change() -> None:
    rng = np.random.default_rng(1)
    edges = np.linspace(-2, 2, 20)
    p_values = []
    for _ in range(200):
        found = two_samples.stability(
            histogram(rng.normal(size=400), edges), histogram(rng.normal(size=300), edges)
        )
        assert found is not None
        p_values.append(found.p_value)
    assert 0.005 < np.mean(np.array(p_values) < 0.05) < 0.12


@pytest.mark.parametrize(("old", "new"), [([0, 500, 0], [0, 500, 0]), ([0, 0], [0, 0]), ([], [])])
def test_one_bin_and_nothing_have_no_index(old: list[int], new: list[int]) -> None:
    assert two_samples.stability(old, new) is None


def test_values_where_there_were_none_are_drift() -> None:
    found = two_samples.stability([500, 0, 0], [0, 0, 500])
    assert found is not None
    assert found.value > 5


@pytest.mark.parametrize(
    ("old", "new"),
    [([50, 950], [950, 50]), ([0, 1000], [1000, 0]), ([0, 500, 500], [500, 0, 500]),
     ([30, 30, 940], [470, 470, 60])],
)  # fmt: skip
def test_a_change_is_seen_from_either_end(old: list[int], new: list[int]) -> None:
    """A camera that found one face on nearly every picture, and then none."""
    for turned in (False, True):
        found = two_samples.stability(*((one[::-1] if turned else one) for one in (old, new)))
        assert found is not None
        assert found.value > 1
        assert found.p_value < 1e-6


def test_a_value_that_nearly_all_have_is_not_drift_by_chance() -> None:
    rng = np.random.default_rng(3)
    found = [
        two_samples.stability(
            rng.multinomial(400, [0.01, 0.97, 0.02]).tolist(),
            rng.multinomial(300, [0.01, 0.97, 0.02]).tolist(),
        )
        for _ in range(300)
    ]
    assert not [one for one in found if one and one.value > LIMITS.psi and one.p_value < 1e-3]


def rows(seed: int, count: int, shift: float = 0.0) -> tuple[np.ndarray, list[str]]:
    rng = np.random.default_rng(seed)
    values = rng.normal(size=(count, 4)).astype(np.float32)
    values[:, 0] += shift
    values[::7, 2] = np.nan
    return values, [f"gate {n // 5}" for n in range(count)]


def test_a_classifier_finds_a_shift_and_nothing_where_there_is_none() -> None:
    same = [check.told_apart("images", rows(2 * s, 400), rows(2 * s + 1, 300), LIMITS)
            for s in range(2)]  # fmt: skip
    assert [one.state for one in same] == ["stable"] * 2
    moved = check.told_apart("images", rows(1, 400), rows(2, 300, shift=1.5), LIMITS)
    assert moved.state == "drift"
    assert moved.value is not None
    assert moved.value > 0.75


def test_a_change_that_no_single_measurement_shows() -> None:
    rng = np.random.default_rng(3)
    one = rng.normal(size=(600, 1)).astype(np.float32)
    reference = np.hstack([one, one])
    period = np.hstack([one, -one])  # each column is distributed as before
    groups = [str(n) for n in range(600)]
    assert (
        check.told_apart("images", (reference, groups), (period, groups), LIMITS).state == "drift"
    )


@pytest.mark.parametrize("count", [0, 1, 99])
def test_too_little_is_not_compared(count: int) -> None:
    found = check.told_apart("faces", rows(1, 400), rows(2, count), LIMITS)
    assert (found.state, found.value, found.period_n) == ("too_few", None, count)


def test_what_was_never_measured_does_not_matter() -> None:
    nothing = np.full((200, 2), np.nan, np.float32)
    groups = [str(n) for n in range(200)]
    found = check.told_apart("faces", (nothing, groups), (nothing, groups), LIMITS)
    assert found.state == "too_few"
    values = np.hstack([nothing[:, :1], np.ones((200, 1), np.float32)])
    found = check.told_apart("faces", (nothing, groups), (values, groups), LIMITS)
    assert found.state == "drift"  # measured now, not before


def test_one_burst_is_not_enough_to_split() -> None:
    values, _ = rows(1, 200)
    found = check.told_apart("faces", (values, ["a"] * 200), (values, ["b"] * 200), LIMITS)
    assert found.state == "too_few"


def people(seed: int, count: int, alike: float) -> tuple[np.ndarray, np.ndarray]:
    """Three faces of each person; `alike` pulls everybody towards one face."""
    rng = np.random.default_rng(seed)
    centre = np.repeat(rng.normal(size=(count, 32)), 3, axis=0)
    vectors = centre + 0.3 * rng.normal(size=centre.shape) + alike
    vectors = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)
    return vectors, np.repeat(np.arange(count), 3)


def test_impostor_scores_that_move_are_drift() -> None:
    same = list(check.impostors(people(1, 60, 0.0), people(2, 60, 0.0), LIMITS, threshold=0.9,
                                target_fmr=0.001))  # fmt: skip
    assert {one.state for one in same} == {"stable"}
    assert [one.measure for one in same] == [
        "impostor q50", "impostor q90", "impostor q99", "impostor rate",
    ]  # fmt: skip
    moved = list(check.impostors(people(1, 60, 0.0), people(2, 60, 0.8), LIMITS, threshold=0.4,
                                 target_fmr=0.001))  # fmt: skip
    assert {one.state for one in moved} == {"drift"}


@pytest.mark.parametrize("count", [0, 1, 9])
def test_few_people_are_not_compared(count: int) -> None:
    few = people(1, count, 0.0) if count else (np.zeros((0, 1), np.float32), np.zeros(0, int))
    found = list(check.impostors(people(1, 30, 0.0), few, LIMITS, threshold=0.4, target_fmr=0.01))
    assert {one.state for one in found} == {"too_few"}


def test_pairs_are_of_different_people() -> None:
    vectors, whose = people(1, 4, 0.0)
    assert len(two_samples.impostor_scores(vectors, whose)) == 12 * 11 // 2 - 4 * 3


def test_canaries_are_the_same_everywhere_and_for_ever() -> None:
    digests = canaries.digests()
    assert len(set(digests)) == canaries.COUNT
    assert digests[0] == "fc43a8fa6a6de3f372e016225ccbb6b623c33aa39af4c5649ac54ee73cfdc077"
    assert digests[-1] == "36436ebfc86ecaed99b14ee48f5c4261b14ecd9934125060adc2bd341f70e101"


def test_a_canary_that_changes_is_drift() -> None:
    rng = np.random.default_rng(1)
    pinned = {f"{n}": rng.normal(size=16).astype(np.float32) for n in range(4)}
    close = {key: 3 * vector + 0.001 for key, vector in pinned.items()}
    assert check.canary("e/1", canaries.reproduced(pinned, close), LIMITS).state == "stable"
    for broken in (-pinned["2"], np.full(16, np.nan, np.float32), np.zeros(16), np.ones(8)):
        found = check.canary("e/1", canaries.reproduced(pinned, close | {"2": broken}), LIMITS)
        assert found.state == "drift"
    first = check.canary("e/1", canaries.reproduced({}, close), LIMITS)
    assert (first.state, first.value) == ("too_few", None)


def test_a_source_that_fell_silent() -> None:
    def days(*rows: tuple[str, int, int]) -> pd.DataFrame:
        return pd.DataFrame(list(rows), columns=["source", "weekday", "n"], dtype=object)

    before = days(("gate", 1, 200), ("office", 1, 200), ("yard", 3, 8), ("gate", 2, 200))
    now = days(("gate", 1, 40))
    four_weeks, week = dict.fromkeys(range(1, 8), 4), dict.fromkeys(range(1, 8), 1)
    found = {m.subject: m for m in check.silent_sources(before, now, four_weeks, week)}
    assert {key: m.state for key, m in found.items()} == {
        "source/gate": "stable", "source/office": "drift", "source/yard": "stable",
    }  # fmt: skip
    # Nobody expects the office on a Sunday.
    sunday = {m.subject: m.state for m in check.silent_sources(before, now, four_weeks, {7: 1})}
    assert set(sunday.values()) == {"stable"}


def test_distributions_are_looked_at_per_source_and_together() -> None:
    def frame(gate: list[int], yard: list[int]) -> pd.DataFrame:
        made = [
            (source, "image.sharpness", bucket, n)
            for source, counts in (("gate", gate), ("yard", yard))
            for bucket, n in enumerate(counts)
            if n
        ]
        return pd.DataFrame(made, columns=["source", "measure", "bucket", "n"], dtype=object)

    reference = frame([100] * 10, [20] * 10)
    fogged = frame([100] * 10, [150, 50, 0, 0, 0, 0, 0, 0, 0, 0])
    found = {m.subject: m.state for m in check.distributions(reference, fogged, LIMITS)}
    assert found == {"all": "stable", "source/gate": "stable", "source/yard": "drift"}
    nothing = list(check.distributions(reference, frame([], []), LIMITS))
    assert {m.state for m in nothing} == {"too_few"}
    assert list(check.distributions(frame([], []), frame([], []), LIMITS)) == []


def report(*measurements: Measurement) -> DriftReport:
    return DriftReport(WEEK, WEEK.before(), "face-embedder/1", "0.1.0", measurements)


def test_the_page_says_what_drifted_and_escapes_it(read) -> None:
    hostile = "source/<script>alert(1)</script>"
    made = report(
        Measurement(hostile, "psi image.sharpness", "drift", 0.9, 0.25, 1e-9, 500, 400),
        Measurement("source/yard", "silent", "drift", 1.0, 0.5, None, 90, 0,
                    {"expected_images": 22.5}),
        Measurement("all", "two-sample images", "stable", 0.55, 0.65, 0.2, 500, 400),
        Measurement("all", "impostor q50", "too_few", None, 0.05),
    )  # fmt: skip
    rendered = render(made)
    assert rendered == render(made)
    page = read(rendered.html)
    assert "alert(1)" not in "".join(page.scripts)
    text = " ".join(page.texts)
    assert "2 of 3 measures are over the limit" in text
    assert "Source yard delivered nothing; about 22.5 images were expected." in text
    assert "1 measure had too little to compare." in text
    assert json.loads(rendered.json)["measurements"][0]["value"] == 0.9


@pytest.mark.parametrize(
    ("measure", "said"),
    [
        ("psi image.faces", "the distribution of faces per image"),
        ("psi face.inter_eye_px", "the distribution of inter eye px of faces"),
        ("two-sample faces", "how well faces of both periods are told apart"),
        ("impostor q99", "the shift of the 99 % quantile of scores"),
        ("impostor rate", "the share of pairs"),
        ("canary", "the distance of a canary"),
    ],
)
def test_measures_have_words(measure: str, said: str) -> None:
    assert measure_in_words(measure).startswith(said)


def test_nothing_to_compare_is_said() -> None:
    assert sentences(report()) == (
        "There is too little to compare, in this period or in the one before.",
    )
    assert "<figure" not in render(report()).html
