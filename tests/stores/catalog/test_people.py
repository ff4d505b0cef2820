"""Names, the gallery, and whose word counts."""

from __future__ import annotations

import threading

import numpy as np
import pytest

from facecore.errors import ChangeRefused, UsageError
from facecore.stores.catalog.faces import faces
from facecore.stores.catalog.people import people
from facecore.types import Match, Outcome


def _match(model: int, face_id: int, person_id: int | None, outcome=Outcome.ACCEPT, score=0.9):
    return people.AssignmentRow(face_id, person_id, outcome, "enrolled", score, model, 0.25, 0.5, 3)


def test_a_name_is_one_person(tx):
    ada = people.enrol(tx, "Ada  Lovelace ")
    assert people.enrol(tx, " Ada Lovelace") == ada
    assert people.enrol(tx, "Jose\u0301") == people.enrol(tx, "José") != ada
    assert people.enrol(tx, "Ada\x1b\ud800Lovelace\0") == ada
    for bad in ("", "   ", "x" * 201):
        with pytest.raises(UsageError):
            people.enrol(tx, bad)


def test_enrolling_at_once_makes_one_person(catalog):
    found: list[int] = []

    def enrol() -> None:
        with catalog.transaction() as tx:
            found.append(people.enrol(tx, "Ada"))

    threads = [threading.Thread(target=enrol) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 6
    assert len(set(found)) == 1


def test_an_erased_person_stays_erased_and_frees_the_name(catalog):
    with catalog.transaction() as tx:
        first = people.enrol(tx, "Ada")
        tx.cursor().execute("UPDATE person SET status = 'erased'")
        assert people.enrol(tx, "Ada") != first
    with pytest.raises(ChangeRefused), catalog.transaction() as tx:
        tx.cursor().execute("UPDATE person SET status = 'active'")


def test_the_gallery_is_the_confirmed_faces_of_enrolled_pictures(tx, make):
    vectors = make.vectors(5)
    ada, ada_faces = make.enrolled(tx, "Ada", vectors[:2])
    bob, bob_faces = make.enrolled(tx, "Bob", vectors[2:3])
    model = make.embedder(tx)
    probe = make.faces(tx, "probe", 2)
    faces.copy_embeddings(tx, model, probe, make.embeddings(vectors[3:]))
    people.confirm(tx, ada, probe[:1])  # a human's word on a stream face makes no gallery face
    people.write_assignments(tx, [_match(model, probe[1], bob)])
    gallery = people.gallery(tx, model)
    assert gallery.face_ids.tolist() == ada_faces + bob_faces
    assert gallery.person_ids.tolist() == [ada, ada, bob]
    assert gallery.labels == ["Ada", "Ada", "Bob"]
    np.testing.assert_allclose(gallery.vectors, vectors[:3], atol=1e-3)
    assert gallery.contract == make.contract.digest
    assert len(gallery) == people.gallery_size(tx, model) == 3
    tx.cursor().execute("UPDATE person SET status = 'erased' WHERE id = %s", [ada])
    assert people.gallery(tx, model).labels == ["Bob"]


def test_a_picture_knows_whom_it_enrolled(tx, make):
    make.enrolled(tx, "Ada", make.vectors(2))
    make.faces(tx, "stream", 1)
    asked = [make.digest(name) for name in ("gallery Ada", "stream", "unknown")]
    assert people.enrolled_as(tx, asked) == {asked[0]: "Ada"}
    tx.cursor().execute("UPDATE person SET status = 'erased'")
    assert people.enrolled_as(tx, asked) == {}


def test_a_face_leaves_the_gallery_when_a_human_says_so(tx, make):
    _, ids = make.enrolled(tx, "Ada", make.vectors(2))
    people.confirm(tx, people.enrol(tx, "Bob"), ids[:1])
    gallery = people.gallery(tx, make.embedder(tx))
    assert (gallery.face_ids.tolist(), gallery.labels) == (ids[1:], ["Ada"])


def test_an_empty_gallery_has_the_right_shape(tx, make):
    gallery = people.gallery(tx, make.embedder(tx))
    assert gallery.vectors.shape == (0, 16)
    assert len(gallery) == 0


def test_a_machine_says_again_only_what_changed(tx, make):
    ada, _ = make.enrolled(tx, "Ada", make.vectors(1))
    model = make.embedder(tx)
    probe = make.faces(tx, "probe", 2)
    rows = [_match(model, probe[0], ada), _match(model, probe[1], None, Outcome.UNKNOWN, 0.1)]
    assert people.write_assignments(tx, rows) == 2
    assert people.write_assignments(tx, rows) == 0
    assert people.write_assignments(tx, [_match(model, probe[1], ada, Outcome.REVIEW)]) == 1
    now = people.current(tx, [*probe, 999])
    assert now[probe[1]] == people.Assignment(
        probe[1], ada, "Ada", Outcome.REVIEW, "enrolled", 0.9, 0.25, 0.5
    )
    assert set(now) == set(probe)
    assert people.write_assignments(tx, []) == 0


def test_a_human_is_never_overwritten_by_a_machine(catalog, make):
    with catalog.transaction() as tx:
        ada, _ = make.enrolled(tx, "Ada", make.vectors(1))
        bob = people.enrol(tx, "Bob")
        model = make.embedder(tx)
        (face_id,) = make.faces(tx, "probe", 1)
        people.confirm(tx, ada, [face_id])
    with catalog.transaction() as tx:
        people.write_assignments(tx, [_match(model, face_id, bob)])
        assert people.current(tx, [face_id])[face_id].label == "Ada"
        with pytest.raises(UsageError):
            people.write_assignments(
                tx, [people.AssignmentRow(face_id, bob, Outcome.ACCEPT, "human", 0.9, model)]
            )
    for attempt in (
        "UPDATE assignment SET person_id = %(bob)s WHERE source = 'human'",
        "DELETE FROM assignment WHERE source = 'human'",
        "UPDATE assignment SET source = 'human' WHERE source = 'enrolled' AND face_id = %(face)s",
        "DELETE FROM face WHERE id = %(face)s",
    ):
        with pytest.raises(ChangeRefused), catalog.transaction() as tx:
            tx.cursor().execute(attempt, {"bob": bob, "face": face_id})
    with catalog.transaction() as tx:
        people.confirm(tx, bob, [face_id])
        assert people.current(tx, [face_id])[face_id].label == "Bob"


def test_the_licence_to_act_for_a_human_ends_with_the_call(catalog, make):
    with catalog.transaction() as tx:
        ada, (face_id,) = make.enrolled(tx, "Ada", make.vectors(1))

    def confirm_then_delete() -> None:
        with catalog.transaction() as tx:
            people.confirm(tx, ada, [face_id])
            tx.cursor().execute("DELETE FROM assignment")

    with pytest.raises(ChangeRefused):
        confirm_then_delete()


def test_a_cluster_speaks_where_no_enrolled_person_matched(tx, make):
    ada, _ = make.enrolled(tx, "Ada", make.vectors(1))
    model = make.embedder(tx)
    matched, unmatched = make.faces(tx, "probe", 2)
    with tx.cursor() as cursor:
        cursor.execute("INSERT INTO person (label, kind) VALUES ('P-1', 'discovered') RETURNING id")
        (someone,) = cursor.fetchone()
    cluster = [
        people.AssignmentRow(face, someone, Outcome.ACCEPT, "cluster", 0.8, model)
        for face in (matched, unmatched)
    ]
    matches = [_match(model, matched, ada), _match(model, unmatched, None, Outcome.UNKNOWN)]
    people.write_assignments(tx, cluster + matches)
    now = people.current(tx, [matched, unmatched])
    assert (now[matched].label, now[unmatched].label) == ("Ada", "P-1")


def test_a_match_becomes_a_row(tx, make):
    ada, _ = make.enrolled(tx, "Ada", make.vectors(1))
    model = make.embedder(tx)
    (face_id,) = make.faces(tx, "probe", 1)
    match = Match(Outcome.UNKNOWN, ada, "Ada", 0.25, float("inf"), 0.5)
    row = people.AssignmentRow.from_match(
        face_id, match, model_version_id=model, gallery_size=1, run_id=None
    )
    people.write_assignments(tx, [row])
    now = people.current(tx, [face_id])[face_id]
    assert (now.person_id, now.outcome, now.score, now.margin) == (
        None,
        Outcome.UNKNOWN,
        0.25,
        None,
    )


def test_an_accept_without_a_person_is_refused_by_the_database(catalog, make):
    with catalog.transaction() as tx:
        model = make.embedder(tx)
        (face_id,) = make.faces(tx, "probe", 1)
    with pytest.raises(ChangeRefused) as caught, catalog.transaction() as tx:
        people.write_assignments(tx, [_match(model, face_id, None)])
    assert caught.value.rule == "assignment_person"


def test_people_are_listed_with_their_faces(tx, make):
    make.enrolled(tx, "Bob", make.vectors(1))
    ada, _ = make.enrolled(tx, "Ada", make.vectors(2))
    model = make.embedder(tx)
    people.write_assignments(tx, [_match(model, face, ada) for face in make.faces(tx, "p", 3)])
    listed = [(p.label, p.kind, p.enrolled_faces, p.faces) for p in people.every(tx)]
    assert listed == [("Ada", "enrolled", 2, 5), ("Bob", "enrolled", 1, 1)]
    assert len(people.every(tx, limit=1)) == 1
