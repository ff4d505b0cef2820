"""Another version comes into use: people keep their ids, names and faces, and come back too."""

from __future__ import annotations

from uuid import uuid4

import numpy as np
import pytest

from facecore.jobs.faces import cluster as jobs
from facecore.jobs.lineage import RunContext
from facecore.jobs.people import people as decide
from facecore.jobs.promotion import carried_people
from facecore.stores.catalog import runs
from facecore.stores.catalog.faces import faces
from facecore.stores.catalog.models import active, counterparts, promotions
from facecore.stores.catalog.people import constraints

WHO = {"actor": "ada", "reason": "I know them"}


@pytest.fixture
def run_id(world):
    context = RunContext("test", uuid4().hex, "switch")
    with world.stores.catalog.transaction() as tx:
        runs.start(tx, runs.RunRow(context.run_id, "test", "run", "switch", 1, "switch", "1"))
    return context.run_id


def cluster(world, *, full=True):
    context = RunContext("test", uuid4().hex, "cluster")
    return jobs.cluster(context, full=full, stores=world.stores)


def rotated(vectors):
    """The same faces as another embedder sees them: every cosine as before, every vector new."""
    random = np.random.default_rng(3).normal(size=(vectors.shape[1],) * 2)
    return np.asarray(vectors @ np.linalg.qr(random)[0], np.float32)


def promote(world, run_id, detector, embedder):
    """What `switching` does about people: carry, then switch."""
    with world.stores.catalog.transaction() as tx:
        pair = active.current(tx)
        promotion = promotions.request(tx, pair, detector, embedder, origin="command", actor="ada")
        carried_people.carry(tx, run_id, promotion)
        active.switch(tx, detector, embedder)
        promotions.advance(tx, promotion.id, "abandoned")


def vectors_of(world, face_ids, model):
    with world.stores.catalog.transaction() as tx:
        listed = ",".join(map(str, face_ids))
        ids, vectors = faces.read_vectors(tx, model, f"face.id IN ({listed})")
    return [int(i) for i in ids], vectors


def test_names_and_ids_survive_another_embedder_and_the_way_back(world, run_id):
    x, y = world.add(world.near("x", 5)), world.add(world.near("y", 4))
    single = world.add(world.near("z", 1))
    cluster(world)
    first, second = (world.whose([face[0]])[face[0]] for face in (x, y))
    decide.name_person(first, "Grace", **WHO, stores=world.stores)
    decide.not_this_person(x[4], first, **WHO, stores=world.stores)
    _, other = world.register(2, world.detector)
    ids, old = vectors_of(world, x + y + single, world.embedder)
    with world.stores.catalog.transaction() as tx:
        world.embed_in(tx, ids, rotated(old), other, 2)
    promote(world, run_id, world.detector, other)

    assert set(world.whose(x[:4]).values()) == {first}
    assert set(world.whose(y).values()) == {second}
    assert world.whose([x[4], *single]) == {x[4]: None, single[0]: None}
    with world.stores.catalog.transaction() as tx, tx.cursor() as cursor:
        # What holds was said by the version in use, with a score that it computed.
        cursor.execute("SELECT DISTINCT model_version_id, score > 0.5 FROM current_assignment")
        assert cursor.fetchall() == [(other, True)]
    assert cluster(world, full=False)["faces"] == 2  # those that are nobody's
    assert cluster(world)["changed"] == 0
    assert set(world.whose(x[:4]).values()) == {first}
    assert set(world.whose(y).values()) == {second}

    # A person found meanwhile is there after the way back as well.
    fresh = world.add(rotated(world.near("w", 3)), model=other, version=2)
    assert cluster(world, full=False)["people"] == 1
    (found,) = set(world.whose(fresh).values())
    ids, new = vectors_of(world, fresh, other)
    with world.stores.catalog.transaction() as tx:
        world.embed_in(tx, ids, new, world.embedder, 1)
    promote(world, run_id, world.detector, world.embedder)
    assert set(world.whose(fresh).values()) == {found}
    assert set(world.whose(x[:4]).values()) == {first}
    assert world.person(first)[0] == "Grace"


def twin_of(world, face, detector, embedder, vectors):
    """The same face as another detector found it."""
    with world.stores.catalog.transaction() as tx:
        seen = faces.get(tx, face)
        row = faces.FaceRow(
            seen.image_id, detector, 0, seen.box, None, 0.9, seen.crop_key, seen.crop_index,
            seen.quality, seen.shard_id,
        )  # fmt: skip
        (twin,) = faces.insert_faces(tx, [row])
        world.embed_in(tx, [twin], vectors, embedder, 2)
        counterparts.record(tx, [(face, twin, 0.9)])
    return twin


def test_what_a_human_ruled_out_stays_so_under_another_detector(world, run_id):
    ada = world.enrol("Ada", 2)
    (face,) = world.add(world.near("Ada", 1))
    world.say([face], ada, source="enrolled")
    detector, embedder = world.register(2)
    twin = twin_of(world, face, detector, embedder, rotated(world.near("Ada", 1)))
    world.say([twin], ada, source="enrolled", model=embedder)  # staged by the promotion
    decision = decide.not_this_person(face, ada, **WHO, stores=world.stores)
    promote(world, run_id, detector, embedder)
    assert world.outcomes([twin]) == ["enrolled unknown"]
    cluster(world)
    assert world.whose([twin]) == {twin: None}
    decide.undo(decision, **WHO, stores=world.stores)
    assert world.whose([twin]) == {twin: ada}


def test_a_merge_wins_over_what_was_ruled_out_under_another_detector(world, run_id):
    person, _ = world.discovered("x", 3)
    (face,) = world.add(world.near("x", 1))
    world.say([face], person)
    decide.not_this_person(face, person, **WHO, stores=world.stores)
    detector, embedder = world.register(2)
    twin = twin_of(world, face, detector, embedder, rotated(world.near("x", 1)))
    promote(world, run_id, detector, embedder)
    other, _ = world.discovered("y", 2)
    world.say([twin], other, model=embedder)
    merged = decide.merge_people(person, [other], **WHO, stores=world.stores)
    assert world.whose([twin]) == {twin: person}
    decide.undo(merged, **WHO, stores=world.stores)
    assert world.whose([twin]) == {twin: other}


def test_people_are_carried_to_the_faces_of_another_detector(world, run_id):
    x = world.add(world.near("x", 6))
    cluster(world)
    person = world.whose(x)[x[0]]
    created = decide.split_person(person, x[:2], **WHO, stores=world.stores)
    detector, embedder = world.register(2)
    ids, old = vectors_of(world, x, world.embedder)
    twins = {
        face: twin_of(world, face, detector, embedder, rotated(old[at : at + 1]))
        for at, face in enumerate(ids)
    }
    with world.stores.catalog.transaction() as tx:
        counterparts.carry_human_words(tx, world.detector, detector, overwrite=True)
    away, stay = [twins[f] for f in x[:2]], [twins[f] for f in x[2:]]
    promote(world, run_id, detector, embedder)
    assert set(world.whose(away).values()) == {created}
    assert set(world.whose(stay).values()) == {person}
    # What a human ruled out of a face holds for it as the other detector found it.
    with world.stores.catalog.transaction() as tx:
        assert constraints.forbidden(tx, away) == {face: {person} for face in away}
        assert {face for face, _ in constraints.all_forbidden(tx)} == set(away + stay)
        assert constraints.all_required(tx) == [tuple(sorted(away))]
    world.say(away, person, model=embedder)
    world.say(stay, created, source="enrolled", model=embedder)  # refused: nobody is said
    cluster(world)
    assert set(world.whose(stay).values()) == {person}
    (split,) = decide.decisions(created, stores=world.stores)
    decide.undo(split.id, **WHO, stores=world.stores)
    cluster(world)
    assert set(world.whose(away + stay).values()) == {person}
