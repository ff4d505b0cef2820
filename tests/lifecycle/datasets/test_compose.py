"""Composed scenes: exact, seeded, of the split's own people."""

from __future__ import annotations

import numpy as np
import pytest

from facecore.errors import UsageError
from facecore.lifecycle.datasets import SPLITS, SplitPlan
from facecore.lifecycle.datasets.compose import compose_scenes
from facecore.lifecycle.datasets.composing import pasting
from facecore.lifecycle.datasets.composing.pasting import Light, Move, Outline
from facecore.lifecycle.datasets.composing.photos import find_photos, overlap
from facecore.lifecycle.datasets.composing.scene import Style, compose
from facecore.lifecycle.datasets.composing.textures import drawn, without_face
from facecore.lifecycle.datasets.faces import Picture

PLAN = SplitPlan(val=0.25, test=0.25, seed=4)


@pytest.fixture(scope="module")
def people(crowd, extractor, tmp_path_factory):
    pictures = [
        Picture(path.name, path, path.parent.name, "train") for path in sorted(crowd.glob("*/*"))
    ]
    found, left_out = find_photos(
        pictures, extractor, tmp_path_factory.mktemp("scratch"), lambda done, of: None
    )
    assert not left_out
    by_person = {}
    for photo in found:
        by_person.setdefault(photo.identity, []).append(photo)
    return [own for own in by_person.values() if any(photo.pasteable for photo in own)]


def test_the_same_seed_is_the_same_scene(people):
    one, same, other = (
        compose(people, Style(), np.random.default_rng([0, seed])) for seed in (1, 1, 2)
    )
    assert np.array_equal(one.image, same.image)
    assert np.array_equal(one.boxes, same.boxes)
    assert not np.array_equal(one.image, other.image)


def test_labels_are_in_the_picture_and_nobody_is_hidden(people):
    style = Style(size=256, least_face_px=24, most_faces=4)
    known = {photo.identity for own in people for photo in own}
    counts, backgrounds = [], set()
    for seed in range(40):
        made = compose(people, style, np.random.default_rng(seed))
        counts.append(len(made.boxes))
        backgrounds.add(made.background)
        assert made.image.shape == (256, 256, 3)
        assert len(made.landmarks) == len(made.identities) == len(made.boxes)
        assert {name for name in made.identities if name} <= known
        for number, (box, points) in enumerate(zip(made.boxes, made.landmarks, strict=True)):
            assert (box >= 0).all()
            assert (box <= 256).all()
            assert ((points >= 1) & (points <= 254)).all()
            middle = (points.min(0) + points.max(0)) / 2
            assert (box[:2] < middle).all()
            assert (middle < box[2:]).all()
            # The person's right eye is on the left, also after mirroring.
            across = points[1] - points[0]
            assert across[0] > 0
            others = np.delete(made.boxes, number, axis=0)
            features = np.concatenate([points.min(0), points.max(0)])[None]
            assert all(overlap(other, features)[0] < 1 for other in others)
    assert 0 in counts
    assert max(counts) >= 3
    assert backgrounds == {"photo", "part", "drawn"}


def test_the_detector_finds_the_faces_where_the_labels_are(people, extractor):
    """Labels lie where a detector that never saw composed scenes finds large faces."""
    style = Style(least_face_px=60, most_turn=15)
    made = [compose(people, style, np.random.default_rng(100 + seed)) for seed in range(16)]
    errors, missed, total = [], 0, 0
    for scene, found in zip(made, extractor.detector.detect([s.image for s in made]), strict=True):
        for points in scene.landmarks:
            total += 1
            distances = np.linalg.norm(found.landmarks - points, axis=2).mean(1)
            near = distances.min(initial=np.inf) / np.linalg.norm(points[1] - points[0])
            missed += near > 0.5
            errors += [near] if near <= 0.5 else []
    assert total > 15
    assert missed <= 0.15 * total
    assert np.median(errors) < 0.15  # of the distance of the eyes


@pytest.mark.parametrize("mirrored", [False, True])
def test_points_follow_the_pixels(mirrored):
    """A dot of each colour is found where its landmark was moved to."""
    picture = np.zeros((120, 120, 3), np.uint8)
    landmarks = np.array([[45, 50], [75, 50], [60, 62], [50, 75], [70, 75]], np.float32)
    colours = np.eye(3, dtype=np.uint8)[[0, 1, 2]] * 255
    for (x, y), colour in zip(landmarks[:3].astype(int), colours, strict=True):
        picture[y - 2 : y + 3, x - 2 : x + 3] = colour
    move = Move(np.array([60.0, 60.0]), np.array([90.0, 80.0]), 1.4, 0.4, mirrored)
    scene = np.zeros((200, 200, 3), np.float32)
    plain = Light(np.ones(3), 1.0, np.zeros(2), 0.0)
    waves = (np.zeros(5), np.zeros(5))
    outline = Outline(np.array([60.0, 60.0]), np.array([50.0, 50.0]), 2.0, 0.1, waves)
    pasting.paste(scene, picture, move, (outline,), plain)
    moved = move.points(landmarks)
    back = moved[[1, 0, 2, 4, 3]] if mirrored else moved
    for channel, point in enumerate(back[:3]):
        weight = scene[..., channel]
        y, x = np.mgrid[0:200, 0:200]
        centre = np.array([(x * weight).sum(), (y * weight).sum()]) / weight.sum()
        assert np.abs(centre - point).max() < 0.3


def test_the_box_of_a_turned_oval():
    box = np.array([40.0, 30.0, 80.0, 90.0])
    upright = Move(np.array([60.0, 60.0]), np.array([10.0, 20.0]), 2.0, 0.0, False)
    assert upright.box(box).tolist() == [-30, -40, 50, 80]
    quarter = Move(np.array([60.0, 60.0]), np.array([0.0, 0.0]), 1.0, np.pi / 2, True)
    assert quarter.box(box) == pytest.approx([-30, -20, 30, 20])
    turned = Move(np.array([60.0, 60.0]), np.array([0.0, 0.0]), 1.0, 0.7, False)
    angles = np.linspace(0, 2 * np.pi, 2000)
    oval = np.stack([60 + 20 * np.cos(angles), 60 + 30 * np.sin(angles), np.ones(2000)])
    points = turned.matrix @ oval
    assert turned.box(box) == pytest.approx([*points.min(1), *points.max(1)], abs=1e-3)


def test_pasting_leaves_no_step_at_the_pictures_border():
    """A bright picture on black: its own border, straight, never shows as an edge."""
    picture = np.full((80, 80, 3), 255, np.uint8)
    scene = np.zeros((160, 160, 3), np.float32)
    move = Move(np.array([40.0, 40.0]), np.array([80.0, 80.0]), 1.0, 0.0, False)
    wide = Outline(np.array([40.0, 40.0]), np.array([70.0, 70.0]), 3.0, 0.2, (np.zeros(5),) * 2)
    plain = Light(np.ones(3), 1.0, np.zeros(2), 0.0)
    pasting.paste(scene, picture, move, (wide,), plain, border=10.0)
    steps = np.abs(np.diff(scene[80, :, 0]))
    assert scene[80, 80, 0] == 255
    assert steps.max() < 0.2 * 255


def test_backgrounds_have_no_face(people, extractor):
    rng = np.random.default_rng(3)
    parts = [part for own in people for p in own if (part := without_face(p, rng)) is not None]
    assert len(parts) > 4
    made = [drawn(rng, 200, 200).astype(np.uint8) for _ in range(20)]
    assert not any(len(found) for found in extractor.detector.detect([*parts, *made]))


def test_splits_of_scenes_share_nobody(to, crowd, extractor):
    style = Style(size=160)
    built = compose_scenes(to("scenes"), crowd, extractor, count=24, style=style, plan=PLAN)
    snapshot = built.snapshot
    assert {split: n["rows"] for split, n in snapshot.splits.items()} == {
        "train": 12, "val": 6, "test": 6,
    }  # fmt: skip
    people = {}
    for split in SPLITS:
        rows = snapshot.frame(split)
        people[split] = {name for names in rows["identities"] for name in names if name}
        for row, (image, boxes, landmarks) in zip(
            rows.itertuples(), snapshot.scenes(split), strict=True
        ):
            assert image.shape == (160, 160, 3)
            assert len(boxes) == len(landmarks) == row.faces
            assert np.isfinite(landmarks).all()
        assert all(PLAN.of(name) == split for name in people[split])
    assert sum(map(len, people.values())) == len(set.union(*people.values()))
    assert set(snapshot.frame()["background"]) <= {"photo", "part", "drawn"}

    again = compose_scenes(to("scenes"), crowd, extractor, count=24, style=style, plan=PLAN)
    assert (again.new, again.written, again.snapshot.digest) == (False, 0, snapshot.digest)


def test_what_cannot_be_composed_is_refused(to, crowd, extractor, stored, tmp_path):
    before = stored()
    with pytest.raises(UsageError, match="2 scenes are too few"):
        compose_scenes(to("no"), crowd, extractor, count=2, plan=PLAN)
    with pytest.raises(UsageError, match="pairs file and test folds"):
        compose_scenes(to("no"), crowd, extractor, count=20, plan=PLAN, test_folds=[1])
    with pytest.raises(UsageError, match="cannot hold faces of 200"):
        Style(size=160, least_face_px=200)
    assert stored() == before
