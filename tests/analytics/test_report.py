from __future__ import annotations

import base64
import hashlib
import io
import json
import re
from dataclasses import replace
from datetime import date
from itertools import pairwise

import numpy as np
import pytest
from PIL import Image

from facecore.analytics.activity import summarise
from facecore.analytics.activity_report import ActivityReport
from facecore.analytics.metrics import face_metrics, image_metrics
from facecore.analytics.period import Period
from facecore.analytics.report import render
from facecore.config import GateSettings
from facecore.errors import ShapeError


@pytest.fixture
def page(report: ActivityReport, crops, read):
    return read(render(report, crops).html)


@pytest.fixture
def numbers(report: ActivityReport, crops) -> dict:
    return json.loads(render(report, crops).json)


def column(page, caption: str, index: int) -> list:
    return [row[index] for row in page.tables[caption]]


def test_tables_state_the_numbers_of_the_json(page, numbers: dict) -> None:
    for place, series in enumerate(numbers["arrivals"]):
        assert column(page, "Images per source and day", 1 + place) == series["sightings"]
    assert column(page, "Deliveries and distinct images", 1) == [
        s["sightings"] for s in numbers["sources"]
    ]
    assert column(page, "Deliveries and distinct images", 2) == [
        s["images"] for s in numbers["sources"]
    ]
    totals = numbers["totals"]
    assert dict(zip(column(page, "What became of the images", 0),
                    column(page, "What became of the images", 1), strict=True)) == {
        "Searched for faces": totals["extracted"],
        "Waiting for extraction": totals["accepted"],
        "Waiting for the gate": totals["stored"],
        "Quarantined": totals["quarantined"],
        "Erased": totals["erased"],
    }  # fmt: skip
    assert column(page, "Why images were quarantined", 2) == [
        r["images"] for r in numbers["reasons"]
    ]
    assert column(page, "Duplicates", 1) == [totals["exact_duplicates"], totals["near_duplicates"]]
    assert column(page, "Faces per image", 1) == numbers["faces_per_image"][:7]
    for place, outcome in enumerate(("accept", "review", "unknown", "not_compared")):
        assert (
            column(page, "Recognised, to review, unknown", 1 + place)
            == numbers["outcomes"][outcome]
        )
    for place, outcome in enumerate(("accept", "review", "unknown")):
        assert column(page, "Identification scores", 1 + place) == [
            b[outcome] for b in numbers["scores"]
        ]
    for histogram in (*numbers["image_quality"], *numbers["face_quality"]):
        assert (histogram["title"] in page.tables) == bool(histogram["measured"])
        if histogram["measured"]:
            assert column(page, histogram["title"], 1) == [b["count"] for b in histogram["bins"]]
    assert [row[1:] for row in page.tables["When faces are seen"]] == [
        row["faces"] for row in numbers["heat"]
    ]
    assert column(page, "People seen most", 0) == [p["label"] for p in numbers["people"]]
    assert column(page, "People seen most", 1) == [p["images"] for p in numbers["people"]]


def test_figures_draw_the_numbers_of_the_json(page, numbers: dict) -> None:
    for theme in ("light", "dark"):
        drawn = {key: one[theme]["data"] for key, one in page.data["charts"].items()}
        assert [t["y"] for t in drawn["arrivals-per-day"]] == [
            s["sightings"] for s in numbers["arrivals"]
        ]
        assert [t["y"] for t in drawn["outcomes"]] == [
            numbers["outcomes"][k] for k in ("accept", "review", "unknown", "not_compared")
        ]
        assert [t["y"] for t in drawn["identification-scores"]] == [
            [b[k] for b in numbers["scores"]] for k in ("accept", "review", "unknown")
        ]
        assert drawn["heat"][0]["z"] == [row["faces"] for row in numbers["heat"]]
        assert drawn["reasons"][0]["x"] == [r["images"] for r in numbers["reasons"]]
        brightness = next(h for h in numbers["image_quality"] if h["key"] == "brightness")
        assert drawn["image-brightness"][0]["y"] == [b["count"] for b in brightness["bins"]]


def test_every_chart_has_a_place_a_description_and_a_table(page) -> None:
    places = {
        a["id"].removeprefix("chart-"): a
        for a in page.all("div")
        if (a.get("id") or "").startswith("chart-")
    }
    assert set(places) == set(page.data["charts"])
    assert all(a["role"] == "img" and len(a["aria-label"] or "") > 20 for a in places.values())
    assert len(page.all("figure")) == len(places)
    assert len(page.all("table")) >= len(places)
    assert set(page.data["themes"]) == {"light", "dark"}


def test_threshold_is_drawn_where_its_value_lies(page, numbers: dict) -> None:
    figure = page.data["charts"]["identification-scores"]["light"]
    (line,) = figure["layout"]["shapes"]
    at = line["x0"]
    below = numbers["scores"][int(at)]
    assert below["low"] + (at - int(at)) * (below["high"] - below["low"]) == pytest.approx(0.363)
    assert figure["layout"]["annotations"][0]["text"] == "threshold 0.363"


def test_user_text_is_shown_and_never_run(page, report: ActivityReport, crops, hostile) -> None:
    source, person = hostile
    html = render(report, crops).html
    assert "<script>alert" not in html
    assert "<img src=x" not in html
    assert source in column(page, "Deliveries and distinct images", 0)
    assert any(person in text for text in page.texts)
    assert len(page.scripts) == 2
    assert all("onerror" not in attributes for _, attributes in page.elements)
    name = page.data["charts"]["arrivals-per-day"]["light"]["data"][1]["name"]
    assert name == "&lt;script&gt;alert('source')&lt;/script&gt;"


def test_page_may_load_nothing_and_run_only_its_own_scripts(page) -> None:
    (policy,) = [a["content"] for a in page.all("meta") if a.get("http-equiv")]
    assert policy is not None
    assert "default-src 'none'" in policy
    assert re.findall(r"'(sha256-[^']+)'", policy) == [
        "sha256-" + base64.b64encode(hashlib.sha256(s.encode()).digest()).decode()
        for s in page.scripts
    ]
    assert not page.all("link")
    assert not any("src" in a for a in page.all("script"))
    assert all((a["href"] or "").startswith("#") for a in page.all("a"))
    assert all((a["src"] or "").startswith("data:image/jpeg;base64,") for a in page.all("img"))


def test_thumbnail_is_the_persons_crop_and_a_missing_one_shows_initials(page, crops) -> None:
    (image,) = page.all("img")
    assert image["alt"] == "Face of Ada Lovelace"
    pixels = Image.open(io.BytesIO(base64.b64decode((image["src"] or "").split(",")[1])))
    assert np.abs(np.asarray(pixels).astype(int) - crops[41]).mean() < 2
    assert any(a.get("class") == "initials" for a in page.all("span"))


def test_crop_of_the_wrong_shape_is_refused(report: ActivityReport) -> None:
    with pytest.raises(ShapeError, match="112"):
        render(report, {41: np.zeros((64, 64, 3), np.uint8)})


def test_same_inputs_give_the_same_bytes(report: ActivityReport, crops) -> None:
    assert render(report, crops) == render(report, crops)


def test_page_stays_small_enough_to_mail(report: ActivityReport, crops) -> None:
    assert len(render(report, crops).html.encode()) < 6_000_000


def test_headings_descend_without_gaps(page) -> None:
    levels = [int(tag[1]) for tag, _ in page.elements if tag in ("h1", "h2", "h3", "h4")]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(later - earlier <= 1 for earlier, later in pairwise(levels))


def test_ids_are_unique(page) -> None:
    ids = [a["id"] for _, a in page.elements if "id" in a]
    assert len(ids) == len(set(ids))
    targets = {(a["href"] or "")[1:] for a in page.all("a")}
    assert targets <= set(ids)


def test_it_can_be_read_with_a_keyboard_and_by_ear(page) -> None:
    assert page.all("html")[0]["lang"] == "en"
    skip = page.all("a")[0]
    assert (skip["class"], skip["href"]) == ("skip", "#content")
    for _, attributes in page.elements:
        # Nothing jumps the queue, and whatever scrolls can be reached and has a name.
        assert attributes.get("tabindex") in (None, "0", "-1"), attributes
        if "scroll" in (attributes.get("class") or "").split():
            assert attributes.get("tabindex") == "0"
            assert attributes.get("aria-label")
    assert all(image.get("alt") is not None for image in page.all("img"))
    assert all(cell.get("scope") in ("col", "row") for cell in page.all("th"))


def test_empty_period_is_a_plain_page_that_says_so(empty_report: ActivityReport, read) -> None:
    rendered = render(empty_report)
    page = read(rendered.html)
    text = " ".join(page.texts)
    assert "No images in this period" in text
    assert "earlier images, captured from 2026-03-03 to 2026-03-03" in text
    assert not page.all("script")
    assert not page.all("figure")
    assert json.loads(rendered.json)["totals"]["images"] == 0


def test_nothing_found_is_said_instead_of_drawn(report: ActivityReport, read) -> None:
    nobody = replace(
        report,
        totals=replace(report.totals, quarantined=0, faces=0, images_with_faces=0, accept=0,
                       review=0, unknown=0, not_compared=0, people=0),
        reasons=(), scores=(), thresholds=(), people=(), faces_per_image=(12, *[0] * 10),
        face_quality=(),
    )  # fmt: skip
    text = " ".join(read(render(nobody).html).texts)
    for sentence in (
        "No image was quarantined",
        "No face was found in the 12 images searched.",
        "No face was compared with a gallery.",
        "No person was recognised in this period.",
    ):
        assert sentence in text


@pytest.mark.parametrize(("days", "factor"), [(1, 1), (3, 1), (800, 1), (4, 10**9)])
def test_short_long_and_huge_periods_render(frames, read, days: int, factor: int) -> None:
    period = Period.days(date(2026, 3, 1), days)
    inside = frames["arrivals"]["bin"] < period.local_end
    for name in ("sightings", "images"):
        frames["arrivals"][name] *= factor
        frames["totals"][name] *= factor
        frames["sources"][name] *= factor
    frames["arrivals"] = frames["arrivals"][inside]
    frames["outcomes"] = frames["outcomes"][frames["outcomes"]["bin"] < period.local_end]
    for name in ("hours", "source_hours"):
        frames[name] = frames[name][frames[name]["weekday"].isin(list(period.weekdays()))]
    for name in ("newcomers", "quarantine_trend", "image_trend", "face_trend", "score_trend"):
        frames[name] = frames[name][frames[name]["bin"] < period.local_end]
    report = summarise(
        frames, period=period, image_metrics=image_metrics(GateSettings()),
        face_metrics=face_metrics(0.6), counted_at=None, code_version="0.1.0", visit_gap_s=1800,
    )  # fmt: skip
    page = read(render(report).html)
    title = f"Images per source and {period.bin_unit}"
    table = page.tables[title]
    assert len(table) == len(report.bins) == {1: 24, 3: 72, 800: 27, 4: 4}[days]
    assert sum(row[-1] for row in table) == sum(frames["arrivals"]["sightings"])
