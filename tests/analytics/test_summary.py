from __future__ import annotations

from dataclasses import replace

from facecore.analytics.activity_report import ActivityReport
from facecore.analytics.summary import sentences


def test_summary_states_the_numbers(report: ActivityReport) -> None:
    assert sentences(report) == (
        "More than 2 sources delivered 23 images: 20 distinct pictures and 3 exact copies; "
        "2 of the pictures look nearly the same as another.",
        "4 images (20.0 %) were quarantined, most often: too dark (3) and a code from elsewhere "
        "(2); 3 images are still waiting to be processed.",
        "15 faces were found in 8 of 12 images searched (66.7 %).",
        "Of 12 compared faces, 7 (58.3 %) were recognised as 2 different people, 1 needs a human's "
        "look and 4 stay unknown; 3 were not compared.",
        "5 visits by 2 people were seen; 1 of them had never been seen before.",
        "The busiest day was Sun 1 Mar 2026 with 17 images; most faces in one hour of the week "
        "came on Tuesdays, 17–18 h (8).",
        "Compared with the 4 days before: 20 images instead of 25 (−20 %); 15 faces instead of "
        "10; 2 recognised people, as before.",
        "20.0 % of the images were quarantined, 4.0 % before.",
        "58.3 % of the compared faces were recognised, 50.0 % before.",
    )


def test_without_a_gallery_the_next_step_is_named(report: ActivityReport) -> None:
    totals = replace(report.totals, accept=0, review=0, unknown=0, not_compared=15)
    assert "enrol people" in " ".join(sentences(replace(report, totals=totals)))


def test_one_of_everything_is_singular(report: ActivityReport) -> None:
    totals = replace(
        report.totals, sightings=1, images=1, exact_duplicates=0, near_duplicates=0, stored=0,
        accepted=0, quarantined=1, faces=1, images_with_faces=1, accept=1, review=0, unknown=0,
        not_compared=0, people=1,
    )  # fmt: skip
    one = replace(
        report,
        totals=totals,
        sources=report.sources[:1],
        reasons=report.reasons[:1],
        faces_per_image=(0, 1),
    )
    said = " ".join(sentences(one))
    assert "Source gate delivered 1 image." in said
    assert "1 image (100 %) was quarantined" in said
    assert "1 face was found in 1 of 1 image searched" in said
    assert "Of 1 compared face, 1 (100 %) was recognised as 1 person" in said


def test_empty_period_with_an_empty_catalogue(empty_report: ActivityReport) -> None:
    said = sentences(replace(empty_report, known_from=None, known_to=None, before=None))
    assert said[-1] == "The catalogue holds no earlier image either."
