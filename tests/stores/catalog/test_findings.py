"""What became of each delivered object."""

from __future__ import annotations

from facecore.stores.catalog.images import images
from facecore.stores.catalog.pages.findings import findings
from facecore.stores.catalog.people import people
from facecore.types import Outcome


def _deliver(tx, image_id: int, key: str, etag: str = "1") -> None:
    images.record_sightings(tx, [images.SightingRow(image_id, "landing", key, etag, "door")])


def test_faces_names_and_reasons_are_found_by_key(tx, make):
    ada, _ = make.enrolled(tx, "Ada", make.vectors(1))
    model = make.embedder(tx)
    known, unknown = make.faces(tx, "two faces", 2)
    (image_id,) = make.images(tx, "two faces")
    (blurred,) = make.images(tx, "blurred")
    _deliver(tx, image_id, "a.jpg")
    _deliver(tx, image_id, "copy of a.jpg")
    _deliver(tx, blurred, "b.jpg")
    images.set_gate_result(tx, [image_id], {blurred: [{"code": "blurred", "detail": "3.1"}]})
    people.write_assignments(
        tx,
        [
            people.AssignmentRow(known, ada, Outcome.ACCEPT, "enrolled", 0.9, model),
            people.AssignmentRow(unknown, None, Outcome.UNKNOWN, "enrolled", 0.1, model),
        ],
    )
    found = {item.key: item for item in findings(tx, ["a.jpg", "copy of a.jpg", "b.jpg", "no"])}
    assert set(found) == {"a.jpg", "copy of a.jpg", "b.jpg"}
    assert [(face.label, face.outcome) for face in found["a.jpg"].faces] == [
        ("Ada", "accept"),
        (None, "unknown"),
    ]
    assert found["copy of a.jpg"].image_id == image_id
    assert (found["b.jpg"].status, found["b.jpg"].reasons) == ("quarantined", ("blurred",))


def test_a_replaced_object_is_the_newer_content(tx, make):
    old, new = make.images(tx, "old", "new")
    _deliver(tx, old, "a.jpg", "1")
    _deliver(tx, new, "a.jpg", "2")
    assert [item.image_id for item in findings(tx, ["a.jpg"])] == [new]
