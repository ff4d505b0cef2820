"""Near-duplicates are exactly those brute force finds."""

from __future__ import annotations

import numpy as np
import pytest

from facecore.errors import UsageError
from facecore.stores.catalog.images import duplicates, images


def _signed(value: int) -> int:
    return value - 2**64 if value >= 2**63 else value


def _distance(one: int, other: int) -> int:
    return ((one ^ other) & (2**64 - 1)).bit_count()


def _hashes(count: int, seed: int) -> list[int]:
    """Families of hashes that differ in 0 to 6 bits, so that many pairs are near the limit."""
    random = np.random.default_rng(seed)
    found: list[int] = []
    while len(found) < count:
        base = int.from_bytes(random.bytes(8), "big")
        for _ in range(4):
            flipped = base
            for bit in random.choice(64, size=random.integers(0, 7), replace=False):
                flipped ^= 1 << int(bit)
            found.append(_signed(flipped))
    return found[:count]


@pytest.mark.parametrize("max_bits", [0, 1, 2, 3])
def test_found_is_what_brute_force_finds(tx, make, max_bits):
    hashes = _hashes(400, seed=max_bits)
    ids = [make.images(tx, str(n), phash=value)[0] for n, value in enumerate(hashes[:300])]
    stored = list(zip(ids, hashes[:300], strict=True))
    expected = {}
    for probe in hashes[200:]:
        near = [i for i, have in stored if _distance(probe, have) <= max_bits]
        if near:
            expected[probe] = min(near)
    assert 0 < len(expected) < 200
    assert duplicates.near_duplicates(tx, hashes[200:], max_bits) == expected


def test_images_point_to_the_earliest_older_one(tx, make):
    hashes = _hashes(200, seed=7)
    ids = [make.images(tx, str(n), phash=value)[0] for n, value in enumerate(hashes)]
    expected = {}
    for position, value in enumerate(hashes):
        earlier = zip(ids[:position], hashes[:position], strict=True)
        older = [i for i, have in earlier if _distance(value, have) <= 3]
        expected[ids[position]] = min(older, default=None)
    flagged = duplicates.flag_near_duplicates(tx, ids, 3)
    assert flagged == sum(original is not None for original in expected.values()) > 20
    assert {i: images.get(tx, i).near_duplicate_of for i in ids} == expected


def test_without_a_hash_nothing_is_near(tx, make):
    (image_id,) = make.images(tx, "undecodable")
    assert duplicates.flag_near_duplicates(tx, [image_id]) == 0
    assert duplicates.near_duplicates(tx, [0]) == {}
    assert duplicates.near_duplicates(tx, []) == {}


def test_an_erased_image_is_nobodys_original(tx, make):
    make.images(tx, "a", phash=5)
    with tx.cursor() as cursor:
        cursor.execute("UPDATE image SET status = 'erased'")
    assert duplicates.near_duplicates(tx, [5]) == {}


@pytest.mark.parametrize("bits", [-1, 4])
def test_more_bits_than_the_index_answers_exactly_are_refused(tx, bits):
    with pytest.raises(UsageError):
        duplicates.near_duplicates(tx, [1], bits)


def test_the_index_is_used_when_there_are_many_images(catalog):
    """Each band is an ordered index scan, so a stuck camera costs no more than others."""
    with catalog.transaction() as tx, tx.cursor() as cursor:
        cursor.execute(
            "INSERT INTO image (sha256, bucket, object_key, source, bytes, phash) "
            "SELECT lpad(n::text, 64, '0'), 'images', 'k', 's', 1, "
            "hashtextextended(n::text, 0) FROM generate_series(1, 20000) AS n"
        )
        cursor.execute("ANALYZE image")
        cursor.execute(
            "EXPLAIN SELECT hit.id FROM unnest(ARRAY[1::bigint, 2]) AS q (phash) "
            f"CROSS JOIN LATERAL ({duplicates._earliest('q.phash', 3)}) AS hit"
        )
        plan = "\n".join(line for (line,) in cursor)
    for band in range(4):
        assert f"image_phash_band_{band}" in plan
    assert "Seq Scan" not in plan
