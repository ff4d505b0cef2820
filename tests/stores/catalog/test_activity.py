"""Counts of a period: planted rows in, known numbers out."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pandas as pd
import pytest

from facecore.analytics.activity import summarise
from facecore.analytics.metrics import SCORE_EDGES, face_metrics, image_metrics
from facecore.analytics.period import Period
from facecore.config import GateSettings
from facecore.errors import UsageError
from facecore.stores.catalog import Catalog, runs
from facecore.stores.catalog.faces import faces
from facecore.stores.catalog.images import images
from facecore.stores.catalog.models import models
from facecore.stores.catalog.people import people
from facecore.stores.catalog.reports.activity import ActivityQuery, read_activity
from facecore.stores.catalog.reports.presence import PresenceQuery, read_presence
from facecore.types import Outcome

ZONE = "Europe/Berlin"
START = datetime(2026, 2, 28, 23, tzinfo=UTC)  # midnight in Berlin
END = START + timedelta(days=2)
NINE = datetime(2026, 3, 1, 9, 10, tzinfo=UTC)  # Sunday, 10:10 in Berlin
NIGHT = datetime(2026, 3, 1, 23, 30, tzinfo=UTC)  # Monday, 00:30 in Berlin
EDGES = {"brightness": [0.0, 100.0, 200.0], "absent": [0.0, 1.0]}


def query(**changes: Any) -> ActivityQuery:
    values: dict[str, Any] = {
        "start": START,
        "end": END,
        "timezone": ZONE,
        "image_bins": EDGES,
        "face_bins": {"detection_score": [0.0, 0.5, 1.0], "sharpness": [0.0, 10.0, 20.0]},
        "score_edges": [0.0, 0.5, 1.0],
        "faces_cap": 2,
    }
    return ActivityQuery(**{**values, **changes})


def read(catalog: Catalog, **changes: Any) -> dict[str, pd.DataFrame]:
    with catalog.transaction() as tx:
        return read_activity(tx, query(**changes))


def rows(frame: pd.DataFrame) -> list[tuple[Any, ...]]:
    return list(frame.itertuples(index=False, name=None))


class Plant:
    """Puts images, their deliveries and their faces into one transaction."""

    def __init__(self, tx, make) -> None:
        self.tx, self.make = tx, make
        runs.start(tx, runs.RunRow("run-1", "ingest_images", "r", "t", 1, "ingest", "0.1.0"))

    def image(self, name: str, at: datetime | None, source: str = "door", **changes: Any) -> int:
        (image_id,) = self.make.images(
            self.tx, name, source=source, captured_at=at,
            captured_from=None if at is None else "key", run_id="run-1", **changes,
        )  # fmt: skip
        self.sighting(image_id, f"{name}.jpg", at, source)
        return image_id

    def sighting(self, image_id: int, key: str, at: datetime | None, source: str) -> None:
        images.record_sightings(
            self.tx,
            [
                images.SightingRow(
                    image_id, "landing", key, "1", source, at, None if at is None else "key",
                    at, "run-1",
                )
            ],
        )  # fmt: skip

    def extracted(self, image_id: int, count: int, detector: int = 1, **changes: Any) -> list[int]:
        images.set_gate_result(self.tx, [image_id], {})
        images.mark_extracted(self.tx, [image_id])
        detector_id = self.make.detector(self.tx, detector)
        return faces.insert_faces(
            self.tx,
            [self.make.face_row(image_id, detector_id, n, **changes) for n in range(count)],
        )

    def says(
        self, face_id: int, person_id: int | None, outcome: Outcome, score: float,
        source: str = "enrolled",
    ) -> None:  # fmt: skip
        people.write_assignments(
            self.tx,
            [
                people.AssignmentRow(
                    face_id, person_id, outcome, source, score, self.make.embedder(self.tx),
                    threshold=0.4, gallery_size=1,
                )
            ],
        )  # fmt: skip


@pytest.fixture
def planted(catalog: Catalog, make) -> Catalog:
    """Five images in the period, others just outside of it, and the gallery."""
    with catalog.transaction() as tx:
        plant = Plant(tx, make)
        ada, _ = make.enrolled(tx, "Ada", make.vectors(1))
        (gallery_id,) = make.images(tx, "gallery Ada", source="enrolment")
        plant.sighting(gallery_id, "ada.jpg", NINE, "enrolment")

        first = plant.image("first", NINE, quality={"brightness": 50, "sharpness": "n/a"})
        known, close, other = plant.extracted(first, 3)
        plant.says(known, ada, Outcome.ACCEPT, 0.75)
        plant.says(close, ada, Outcome.REVIEW, 0.45)
        plant.says(other, None, Outcome.UNKNOWN, 0.1)
        plant.sighting(first, "again.jpg", NIGHT, "yard")
        plant.sighting(first, "much later.jpg", END, "yard")

        night = plant.image("night", NIGHT, quality={"brightness": 200})
        plant.extracted(night, 0)
        with tx.cursor() as cursor:
            cursor.execute("UPDATE image SET near_duplicate_of = %s WHERE id = %s", [first, night])

        bad = plant.image("bad", NIGHT, "yard", quality={"brightness": -1})
        reasons = [{"code": "too_dark", "detail": "0"}, {"code": "low_contrast", "detail": "0"}]
        images.set_gate_result(tx, [], {bad: reasons})

        plant.image("waiting", END - timedelta(microseconds=1), "yard")
        undated = plant.image("undated", None, "lobby")
        with tx.cursor() as cursor:
            cursor.execute(
                "UPDATE sighting SET created_at = %s WHERE image_id = %s", [NINE, undated]
            )

        plant.extracted(plant.image("before", START - timedelta(microseconds=1)), 1)
        plant.extracted(plant.image("after", END), 1)
    return catalog


def test_totals_count_the_period_and_nothing_else(planted: Catalog) -> None:
    (totals,) = read(planted)["totals"].to_dict("records")
    assert totals == {
        "sightings": 6, "images": 5, "near_duplicates": 1, "stored": 2, "accepted": 0,
        "quarantined": 1, "extracted": 2, "erased": 0, "faces": 3, "people": 1,
    }  # fmt: skip


def test_sources_and_days_follow_the_wall_clock(planted: Catalog) -> None:
    frames = read(planted)
    assert rows(frames["sources"]) == [("yard", 3, 2, 1, 0), ("door", 2, 2, 0, 3),
                                       ("lobby", 1, 1, 0, 0)]  # fmt: skip
    sunday, monday = datetime(2026, 3, 1), datetime(2026, 3, 2)
    assert rows(frames["arrivals"]) == [
        (sunday, "door", 1, 1),
        (sunday, "lobby", 1, 1),
        (monday, "yard", 3, 2),
        (monday, "door", 1, 1),
    ]
    assert rows(frames["hours"]) == [(1, 0, 2, 0), (1, 23, 1, 0), (7, 10, 2, 3)]


def test_other_sources_are_added_up(planted: Catalog) -> None:
    frames = read(planted, top_sources=1)
    assert rows(frames["sources"]) == [("yard", 3, 2, 1, 0), (None, 3, 3, 0, 3)]
    assert frames["arrivals"]["sightings"].sum() == 6


@pytest.mark.parametrize(
    ("unit", "bins"),
    [("hour", [datetime(2026, 3, 1, 10)]), ("month", [datetime(2026, 3, 1)])],
)
def test_series_come_in_other_units(planted: Catalog, unit: str, bins: list[datetime]) -> None:
    assert list(read(planted, bin_unit=unit)["outcomes"]["bin"].unique()) == bins


def test_reasons_are_counted_once_per_image(planted: Catalog) -> None:
    assert rows(read(planted)["reasons"]) == [("low_contrast", 1), ("too_dark", 1)]


def test_faces_per_image_of_searched_images(planted: Catalog) -> None:
    frames = read(planted)
    assert rows(frames["faces_per_image"]) == [(0, 1), (2, 1)]  # 3 faces count as "2 or more"


def test_outcomes_scores_and_threshold(planted: Catalog) -> None:
    frames = read(planted)
    day = datetime(2026, 3, 1)
    assert rows(frames["outcomes"]) == [
        (day, "accept", 1),
        (day, "review", 1),
        (day, "unknown", 1),
    ]
    assert rows(frames["scores"]) == [("accept", 2, 1), ("review", 1, 1), ("unknown", 1, 1)]
    assert rows(frames["thresholds"]) == [(0.4, 3, 1, 1)]


def test_histograms_skip_what_is_no_number_and_keep_what_is_outside(planted: Catalog) -> None:
    frames = read(planted)
    # 200 is the last edge: it belongs to the last bin. -1 lies below the first.
    assert rows(frames["image_quality"]) == [
        ("brightness", 0, 1, -1.0, -1.0, -1.0),
        ("brightness", 1, 1, 50.0, 50.0, 50.0),
        ("brightness", 2, 1, 200.0, 200.0, 200.0),
    ]
    assert rows(frames["face_quality"]) == [
        ("detection_score", 2, 3, 2.625, 0.875, 0.875),
        ("sharpness", 2, 3, 37.5, 12.5, 12.5),
    ]


def test_histogram_equals_numpys(catalog: Catalog, make) -> None:
    values = [*np.random.default_rng(3).uniform(0, 256, 60).round(2).tolist(), 0.0, 16.0, 256.0]
    edges = [16.0 * i for i in range(17)]
    with catalog.transaction() as tx:
        plant = Plant(tx, make)
        for place, value in enumerate(values):
            plant.image(f"{place}", NINE, quality={"brightness": value})
    counted = read(catalog, image_bins={"brightness": edges})["image_quality"]
    found = dict(zip(counted["bucket"], counted["n"], strict=True))
    expected = np.histogram(values, bins=edges)[0]
    assert [found.get(bucket, 0) for bucket in range(1, 17)] == expected.tolist()
    assert set(found) <= set(range(1, 17))


def test_only_the_detector_in_use_counts(planted: Catalog, make) -> None:
    before = read(planted)
    with planted.transaction() as tx:
        (first,) = make.images(tx, "first")
        newer = make.detector(tx, 2)
        faces.insert_faces(tx, [make.face_row(first, newer)])
    beside = read(planted)
    assert beside["totals"].equals(before["totals"])
    with planted.transaction() as tx:
        models.set_active(tx, newer)
    frames = read(planted)
    assert frames["totals"]["faces"][0] == 1
    assert rows(frames["outcomes"]) == [(datetime(2026, 3, 1), None, 1)]
    assert [(m[2], m[3]) for m in rows(frames["models"])] == [("face-detector", 2)]


def test_a_human_outranks_the_machine(planted: Catalog, make) -> None:
    with planted.transaction() as tx:
        with tx.cursor() as cursor:
            cursor.execute("SELECT face_id FROM assignment WHERE outcome = 'review'")
            ((face_id,),) = cursor.fetchall()
        people.confirm(tx, people.enrol(tx, "Grace"), [face_id])
    frames = read(planted)
    assert rows(frames["outcomes"])[0][1:] == ("accept", 2)
    assert sorted(frames["people"]["label"]) == ["Ada", "Grace"]
    # What the machine scored stays what it scored.
    assert rows(frames["scores"]) == [("accept", 2, 1), ("review", 1, 1), ("unknown", 1, 1)]


def test_grouped_faces_stay_unknown_but_their_group_is_seen(planted: Catalog, make) -> None:
    with planted.transaction() as tx:
        with tx.cursor() as cursor:
            cursor.execute("SELECT face_id FROM assignment WHERE outcome = 'unknown'")
            ((face_id,),) = cursor.fetchall()
            cursor.execute(
                "INSERT INTO person (label, kind) VALUES ('Group 1', 'discovered') RETURNING id"
            )
            ((group,),) = cursor.fetchall()
        people.write_assignments(
            tx,
            [
                people.AssignmentRow(
                    face_id, group, Outcome.ACCEPT, "cluster", 0.7, make.embedder(tx)
                )
            ],
        )
    frames = read(planted)
    assert (datetime(2026, 3, 1), "unknown", 1) in rows(frames["outcomes"])
    assert list(frames["people"]["kind"]) == ["enrolled", "discovered"]


def test_people_are_ranked_with_their_best_face(catalog: Catalog, make) -> None:
    with catalog.transaction() as tx:
        plant = Plant(tx, make)
        ada, _ = make.enrolled(tx, "Ada", make.vectors(1))
        bob, _ = make.enrolled(tx, "Bob", make.vectors(1, seed=2))
        gone, _ = make.enrolled(tx, "Gone", make.vectors(1, seed=3))
        best = None
        for place, person in enumerate((ada, bob, bob, gone, gone, gone)):
            image_id = plant.image(f"{place}", NINE + timedelta(minutes=place))
            (face_id,) = plant.extracted(image_id, 1, quality={"score": place / 10})
            plant.says(face_id, person, Outcome.ACCEPT, 0.5 + place / 100)
            best = face_id if person == bob else best
        with tx.cursor() as cursor:
            cursor.execute("UPDATE person SET status = 'erased' WHERE id = %s", [gone])
    seen = read(catalog)["people"]
    assert [tuple(row) for row in seen[["label", "images", "faces"]].to_numpy()] == [
        ("Bob", 2, 2),
        ("Ada", 1, 1),
    ]
    top = seen.iloc[0]
    assert (top["face_id"], top["best_score"], top["crop_key"]) == (best, 0.52, "1.safetensors")
    assert (top["first_at"], top["last_at"]) == (
        NINE + timedelta(minutes=1),
        NINE + timedelta(minutes=2),
    )
    assert list(read(catalog, top_people=1)["people"]["label"]) == ["Bob"]


def test_lineage_names_models_and_runs(planted: Catalog) -> None:
    frames = read(planted)
    assert [(m[1], m[2], m[6]) for m in rows(frames["models"])] == [
        ("embed", "face-embedder", 3),
        ("detect", "face-detector", 3),
    ]
    assert rows(frames["runs"]) == [("ingest", "0.1.0", 1, ["run-1"])]


def test_numbers_come_from_one_snapshot(planted: Catalog, make) -> None:
    with planted.transaction() as tx:
        before = read_activity(tx, query())
        with planted.transaction() as other:
            plant = Plant(other, make)
            plant.image("meanwhile", NINE)
        again = read_activity(tx, query())
    assert rows(before["totals"]) == rows(again["totals"])
    assert read(planted)["totals"]["images"][0] == 6


def test_reading_leaves_nothing_behind(planted: Catalog) -> None:
    read(planted)
    with planted.transaction() as tx, tx.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM pg_class WHERE relname LIKE 'report\\_%'"
                       " AND relpersistence = 't'")  # fmt: skip
        assert cursor.fetchone() == (0,)


def test_empty_catalogue_gives_zeros(catalog: Catalog) -> None:
    frames = read(catalog)
    assert rows(frames["totals"]) == [(0,) * 10]
    assert rows(frames["extent"]) == [(None, None)]
    assert all(frame.empty for name, frame in frames.items() if name not in ("totals", "extent"))


def test_wrong_queries_are_refused() -> None:
    with pytest.raises(UsageError, match="fortnight"):
        query(bin_unit="fortnight")
    with pytest.raises(UsageError, match="UTC offsets"):
        query(start=START.replace(tzinfo=None))


def test_report_states_what_was_planted(planted: Catalog) -> None:
    metrics, faces_measured = image_metrics(GateSettings()), face_metrics(0.6)
    period = Period(START, END, ZONE)
    frames = read(
        planted,
        bin_unit=period.bin_unit,
        image_bins={m.key: m.edges for m in metrics},
        face_bins={m.key: m.edges for m in faces_measured},
        score_edges=SCORE_EDGES,
        faces_cap=10,
    )
    with planted.transaction() as tx:
        read_activity(tx, query(bin_unit=period.bin_unit))
        frames |= read_presence(tx, query(bin_unit=period.bin_unit), PresenceQuery())
    report = summarise(
        frames, period=period, image_metrics=metrics, face_metrics=faces_measured,
        counted_at=None, code_version="0.1.0", visit_gap_s=1800,
    )  # fmt: skip
    totals = report.totals
    assert (totals.sightings, totals.images, totals.exact_duplicates) == (6, 5, 1)
    assert (totals.accept, totals.review, totals.unknown, totals.not_compared) == (1, 1, 1, 0)
    assert report.faces_per_image[:4] == (1, 0, 0, 1)
    assert sum(sum(one.sightings) for one in report.arrivals) == 6
    assert sum(sum(row.images) for row in report.heat) == 5
    assert {h.key: h.measured for h in report.image_quality}["brightness"] == 3
    assert [person.label for person in report.people] == ["Ada"]
