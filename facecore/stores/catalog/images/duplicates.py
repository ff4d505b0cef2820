"""Near-duplicates by 64-bit perceptual hash: exact for distances up to 3 bits.

The hash is cut into 4 bands of 16 bits. Hashes that differ in at most 3 bits agree in at least
one band (pigeonhole), so four index scans find every candidate, and the exact distance decides.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from facecore.errors import UsageError
from facecore.stores.catalog.connection import Transaction

MAX_BITS = 3
_MASK = 65535
_SHIFTS = (0, 16, 32, 48)


def near_duplicates(
    tx: Transaction, phashes: Iterable[int], max_bits: int = MAX_BITS
) -> dict[int, int]:
    """Hash → id of the earliest catalogued image within `max_bits`; others are left out.

    Raises:
        UsageError: more bits than the index can answer exactly.
    """
    wanted = sorted(set(phashes))
    with tx.cursor() as cursor:
        cursor.execute(
            "SELECT q.phash, min(hit.id) FROM unnest(%s::bigint[]) AS q (phash) "
            f"CROSS JOIN LATERAL ({_earliest('q.phash', max_bits)}) AS hit GROUP BY q.phash",
            [wanted],
        )
        return dict(cursor.fetchall())


def flag_near_duplicates(
    tx: Transaction, image_ids: Sequence[int], max_bits: int = MAX_BITS
) -> int:
    """Point each of these images to the earliest older image it nearly equals.

    Call it once the images are recorded: it also sees likeness among themselves. Returns how
    many are near-duplicates.
    """
    older = _earliest("q.phash", max_bits, "AND i.id < q.id")
    with tx.cursor() as cursor:
        cursor.execute(
            "UPDATE image SET near_duplicate_of = found.original FROM ("
            "  SELECT q.id, min(hit.id) AS original FROM image AS q "
            f" CROSS JOIN LATERAL ({older}) AS hit "
            "  WHERE q.id = ANY(%s::bigint[]) GROUP BY q.id"
            ") AS found WHERE image.id = found.id",
            [sorted(image_ids)],
        )
        return cursor.rowcount


def _earliest(phash: str, max_bits: int, condition: str = "") -> str:
    """SQL: per band the first image, by id, within `max_bits` of the expression `phash`."""
    if not 0 <= max_bits <= MAX_BITS:
        raise UsageError(f"near-duplicates are found within 0..{MAX_BITS} bits, not {max_bits}.")
    return " UNION ALL ".join(
        f"(SELECT i.id FROM image AS i WHERE i.phash IS NOT NULL "
        f"AND ((i.phash >> {shift}) & {_MASK}) = (({phash} >> {shift}) & {_MASK}) "
        f"AND bit_count((i.phash # {phash})::bit(64)) <= {int(max_bits)} "
        f"AND i.status <> 'erased' {condition} ORDER BY i.id LIMIT 1)"
        for shift in _SHIFTS
    )
