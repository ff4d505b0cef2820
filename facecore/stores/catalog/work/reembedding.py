"""What has to be read to give faces of one version's images vectors of another version."""

from __future__ import annotations

from collections.abc import Sequence

from facecore.stores.catalog.connection import Transaction


def extraction_shards(tx: Transaction, image_ids: Sequence[int]) -> dict[int, int | None]:
    """Image id → its extraction shard (None: enrolled), of those that are extracted."""
    with tx.cursor() as cursor:
        cursor.execute(
            "SELECT id, extract_shard_id FROM image WHERE id = ANY(%s) AND status = 'extracted' "
            "ORDER BY id",
            [list(image_ids)],
        )
        return dict(cursor.fetchall())


def without_vector(
    tx: Transaction, detector_id: int, embedder_id: int, image_ids: Sequence[int]
) -> dict[str, list[tuple[int, int]]]:
    """Crop pack → (face id, row in the pack) of the detector's faces the embedder has not seen."""
    packs: dict[str, list[tuple[int, int]]] = {}
    with tx.cursor() as cursor:
        cursor.execute(
            "SELECT crop_key, id, crop_index FROM face WHERE image_id = ANY(%s) "
            "AND detector_version_id = %s AND NOT EXISTS (SELECT FROM embedding "
            "WHERE model_version_id = %s AND face_id = face.id) ORDER BY crop_key, crop_index",
            [list(image_ids), detector_id, embedder_id],
        )
        for crop_key, face_id, row in cursor:
            packs.setdefault(crop_key, []).append((face_id, row))
    return packs


def copy_to_detector(
    tx: Transaction, face_ids: Sequence[int], detector_id: int
) -> list[tuple[int, int]]:
    """Make each face one of another detector version too, same box and crop.

    Returns:
        (face, its copy), which comes after the faces the image has of that version.
    """
    copies = []
    with tx.cursor() as cursor:
        for face_id in face_ids:
            cursor.execute(
                "INSERT INTO face (image_id, shard_id, detector_version_id, ordinal, box, "
                "landmarks, score, quality, crop_key, crop_index) "
                "SELECT image_id, shard_id, %(detector)s, (SELECT coalesce(max(o.ordinal) + 1, 0) "
                "FROM face AS o WHERE o.image_id = f.image_id "
                "AND o.detector_version_id = %(detector)s), box, landmarks, score, "
                "quality || jsonb_build_object('kept_from_face', f.id), crop_key, crop_index "
                "FROM face AS f WHERE f.id = %(face)s RETURNING id",
                {"detector": detector_id, "face": face_id},
            )
            (copy,) = cursor.fetchone() or (0,)
            copies.append((face_id, int(copy)))
    return copies


def of_shard(shard_id: int, detector_id: int) -> str:
    """Condition on `face`: what is to be identified of a re-embedding shard's images.

    Faces of the gallery's own pictures are left out, as they are when they are enrolled.
    """
    return (
        f"face.detector_version_id = {int(detector_id)} AND face.shard_id IS NOT NULL "
        "AND face.image_id IN (SELECT jsonb_array_elements_text(members)::bigint "
        f"FROM shard WHERE id = {int(shard_id)})"
    )


def of_images(image_ids: Sequence[int], detector_id: int) -> str:
    """Condition on `face`: what is to be identified of these images."""
    ids = ",".join(str(int(image_id)) for image_id in image_ids) or "NULL"
    return (
        f"face.detector_version_id = {int(detector_id)} AND face.shard_id IS NOT NULL "
        f"AND face.image_id IN ({ids})"
    )
