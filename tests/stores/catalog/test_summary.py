"""The numbers of `facecore status`."""

import json

from facecore.stores.catalog.pages import people_pages, state, summary
from facecore.stores.catalog.people import corrections, people
from facecore.stores.catalog.work import shards
from facecore.types import Outcome


def test_everything_is_counted(tx, make):
    ada, _ = make.enrolled(tx, "Ada", make.vectors(2))
    model = make.embedder(tx)
    seen, unseen = make.faces(tx, "probe", 2)
    people.write_assignments(
        tx,
        [
            people.AssignmentRow(seen, ada, Outcome.ACCEPT, "enrolled", 0.9, model),
            people.AssignmentRow(unseen, None, Outcome.UNKNOWN, "enrolled", 0.1, model),
        ],
    )
    shards.plan(tx, "ingest", "run", [["a"], ["b"]])
    found = summary.summarise(tx)
    assert found.images["stored"] == 2
    assert (found.faces, found.embeddings, found.sightings, found.reports) == (4, 2, 0, 0)
    assert found.assignments == {"accept": 3, "unknown": 1}
    assert found.people == {"enrolled": 1}
    assert found.shards == {"ingest": {"planned": 2}, "extract": {}, "reembed": {}, "score": {}}
    assert found.models == {"detect": "face-detector 1", "embed": "face-embedder 1"}
    assert json.loads(json.dumps(found.as_json()))["faces"] == 4


def test_who_was_merged_or_has_no_face_left_is_nobody(tx, make):
    model = make.embedder(tx)
    kept, emptied = corrections.discover(tx, 2)
    (face,) = make.faces(tx, "probe", 1)
    people.write_assignments(
        tx, [people.AssignmentRow(face, kept, Outcome.ACCEPT, "cluster", 0.9, model)]
    )
    ada, bob = people.enrol(tx, "Ada"), people.enrol(tx, "Bob")
    with tx.cursor() as cursor:
        cursor.execute("SET LOCAL facecore.acting = 'human'")
        cursor.execute("UPDATE person SET merged_into = %s WHERE id = %s", [ada, bob])
    assert summary.summarise(tx).people == {"discovered": 1, "enrolled": 1}
    found = state.holdings(tx)
    assert (found.named.value, found.unnamed.value) == (1, 1)
    assert {one.id for one in people_pages.find(tx)} == {kept, ada}
    assert emptied not in (kept, ada)


def test_an_empty_catalogue_has_zeros(tx):
    found = summary.summarise(tx)
    assert set(found.images.values()) == {0}
    assert (found.people, found.models) == ({}, {})
