"""The same face found by two detector versions, and what humans said of it.

A human speaks of a face. When another detector version comes into use, their word is carried to
the face that it found at the same place.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from psycopg2.extras import execute_values

from facecore.stores.catalog.connection import Transaction

# Detectors draw boxes more or less tightly around a face; two people's faces overlap less.
SAME_FACE_IOU = 0.4

_Boxes = dict[int, tuple[list[int], list[list[float]]]]


def match(tx: Transaction, image_ids: Sequence[int], source_id: int, target_id: int) -> int:
    """Pair the faces that two detector versions found in these images; returns how many pairs.

    One to one, the largest overlap first, by intersection over union of at least
    `SAME_FACE_IOU`. Pairs that are known stay.
    """
    left, right = (_boxes(tx, image_ids, detector) for detector in (source_id, target_id))
    pairs: list[tuple[int, int, float]] = []
    for image_id in left.keys() & right.keys():
        (source_faces, source_boxes), (target_faces, target_boxes) = left[image_id], right[image_id]
        overlaps = intersection_over_union(np.array(source_boxes), np.array(target_boxes))
        pairs += [
            (source_faces[row], target_faces[column], float(overlaps[row, column]))
            for row, column in _best_pairs(overlaps)
        ]
    return record(tx, pairs)


def record(tx: Transaction, pairs: Sequence[tuple[int, int, float]]) -> int:
    """Store (face, face of another detector version, IoU), in both directions."""
    both = [*pairs, *((right, left, iou) for left, right, iou in pairs)]
    if not both:
        return 0
    with tx.cursor() as cursor:
        execute_values(
            cursor,
            "INSERT INTO face_counterpart (face_id, counterpart_id, iou) VALUES %s "
            "ON CONFLICT DO NOTHING",
            sorted((left, right, min(iou, 1.0)) for left, right, iou in both),
            page_size=1000,
        )
    return len(pairs)


def in_use(tx: Transaction, face_ids: Sequence[int]) -> list[int]:
    """The same faces as the detector in use found them; one that it did not find stays itself."""
    with tx.cursor() as cursor:
        cursor.execute(
            "SELECT wanted.id, coalesce(("
            "  SELECT n.id FROM face_counterpart AS c JOIN active_face AS n ON n.id = "
            "  c.counterpart_id WHERE c.face_id = wanted.id ORDER BY c.iou DESC, n.id LIMIT 1"
            "), wanted.id) FROM unnest(%s::bigint[]) AS wanted (id) "
            "WHERE NOT EXISTS (SELECT FROM active_face WHERE active_face.id = wanted.id)",
            [list(face_ids)],
        )
        moved = dict(cursor.fetchall())
    return [moved.get(face_id, face_id) for face_id in face_ids]


def without(
    tx: Transaction,
    image_ids: Sequence[int],
    source_id: int,
    target_id: int,
    *,
    humans_only: bool = True,
) -> list[int]:
    """Faces of one detector version that have no counterpart of the other; their ids.

    Args:
        humans_only: only those of which a human spoke.
    """
    with tx.cursor() as cursor:
        cursor.execute(
            "SELECT face.id FROM face WHERE image_id = ANY(%s) AND detector_version_id = %s "
            "AND NOT EXISTS (SELECT FROM face_counterpart AS c JOIN face AS other "
            "ON other.id = c.counterpart_id WHERE c.face_id = face.id "
            "AND other.detector_version_id = %s) "
            "AND (NOT %s OR EXISTS (SELECT FROM assignment WHERE face_id = face.id "
            "AND source = 'human')) ORDER BY face.id",
            [list(image_ids), source_id, target_id, humans_only],
        )
        return [face_id for (face_id,) in cursor]


def carry_human_words(
    tx: Transaction,
    source_id: int,
    target_id: int,
    *,
    image_ids: Sequence[int] | None = None,
    overwrite: bool,
) -> int:
    """Say of the target's faces what humans said of the source's; returns how many changed.

    Args:
        image_ids: only in these images; None: everywhere.
        overwrite: whether the source's word replaces a human's word on the target's face, and
            its silence removes it. True on the way into use, when nobody could speak of the
            target's faces yet; False for faces that are in use.
    """
    where = "true" if image_ids is None else "f.image_id = ANY(%(images)s)"
    values = {
        "source": source_id,
        "target": target_id,
        "images": None if image_ids is None else list(image_ids),
    }
    pair = (
        "face AS f JOIN face_counterpart AS c ON c.face_id = f.id "
        "JOIN face AS n ON n.id = c.counterpart_id AND n.detector_version_id = %(target)s "
    )
    said = "person_id, outcome, gallery, run_id"
    conflict = (
        f"DO UPDATE SET ({said}) = (excluded.person_id, excluded.outcome, excluded.gallery, "
        "excluded.run_id) WHERE (a.person_id, a.outcome, a.gallery) IS DISTINCT FROM "
        "(excluded.person_id, excluded.outcome, excluded.gallery)"
        if overwrite
        else "DO NOTHING"
    )
    with tx.cursor() as cursor:
        cursor.execute("SET LOCAL facecore.acting = 'human'")  # it is a human's word still
        cursor.execute(
            f"INSERT INTO assignment AS a (face_id, source, {said}) "
            "SELECT DISTINCT ON (n.id) n.id, 'human', h.person_id, h.outcome, h.gallery, h.run_id "
            f"FROM {pair} JOIN assignment AS h ON h.face_id = f.id AND h.source = 'human' "
            f"WHERE f.detector_version_id = %(source)s AND {where} ORDER BY n.id, c.iou DESC "
            f"ON CONFLICT (face_id) WHERE source = 'human' {conflict}",
            values,
        )
        changed = cursor.rowcount
        if overwrite:
            cursor.execute(
                f"DELETE FROM assignment AS h USING {pair} WHERE h.face_id = n.id "
                "AND h.source = 'human' "
                f"AND f.detector_version_id = %(source)s AND {where} AND NOT EXISTS ("
                "SELECT FROM face_counterpart AS c2 JOIN assignment AS h2 "
                "ON h2.face_id = c2.counterpart_id AND h2.source = 'human' "
                "JOIN face AS f2 ON f2.id = c2.counterpart_id "
                "AND f2.detector_version_id = %(source)s WHERE c2.face_id = n.id)",
                values,
            )
            changed += cursor.rowcount
        cursor.execute("SET LOCAL facecore.acting = ''")
    return changed


def intersection_over_union(
    left: npt.NDArray[np.floating], right: npt.NDArray[np.floating]
) -> npt.NDArray[np.float64]:
    """IoU `[n, m]`, 0..1, of boxes `[n, 4]` and `[m, 4]`, x1 y1 x2 y2."""
    a, b = left.astype(np.float64)[:, None], right.astype(np.float64)[None]
    sides = np.minimum(a[..., 2:], b[..., 2:]) - np.maximum(a[..., :2], b[..., :2])
    shared = sides.clip(0).prod(-1)
    area = (a[..., 2:] - a[..., :2]).clip(0).prod(-1) + (b[..., 2:] - b[..., :2]).clip(0).prod(-1)
    return np.asarray(shared / np.maximum(area - shared, 1e-9))


def _best_pairs(overlaps: npt.NDArray[np.float64]) -> list[tuple[int, int]]:
    """Row and column of the largest overlap, of the largest among the rest, and so on."""
    rest = overlaps.copy()
    pairs = []
    while rest.size and rest.max() >= SAME_FACE_IOU:
        row, column = np.unravel_index(int(rest.argmax()), rest.shape)
        pairs.append((int(row), int(column)))
        rest[row, :] = rest[:, column] = -1.0
    return pairs


def _boxes(tx: Transaction, image_ids: Sequence[int], detector_id: int) -> _Boxes:
    found: _Boxes = defaultdict(lambda: ([], []))
    with tx.cursor() as cursor:
        cursor.execute(
            "SELECT image_id, id, box FROM face WHERE image_id = ANY(%s) "
            "AND detector_version_id = %s ORDER BY image_id, ordinal",
            [list(image_ids), detector_id],
        )
        for image_id, face_id, box in cursor:
            found[image_id][0].append(face_id)
            found[image_id][1].append(box)
    return found
