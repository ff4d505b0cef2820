"""What travels between the steps arrives bit for bit, and can do no more than be read."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from facecore.errors import ImageRejected
from facecore.jobs.on_ray.contents import decoded_of, decoded_row, extracted_of, extracted_row
from facecore.jobs.on_ray.rows import from_row, note_of, to_row
from facecore.pipeline.decoded import Decoded, decode_file
from facecore.pipeline.extract import ExtractedImage, Picture
from facecore.stages.decode import Limits, decode
from facecore.types import Contract, Detections, Embeddings, FaceCrops

LIMITS = Limits()
CONTRACT = Contract("sface", "a" * 64, 4, "b" * 64)
RNG = np.random.default_rng(5)


def test_arrays_of_any_kind_and_shape() -> None:
    arrays = {
        "a": RNG.random((2, 3, 4)).astype(np.float32),
        "none": np.zeros((0, 112, 112, 3), np.uint8),
        "ids": np.arange(5)[::2],
    }
    row = to_row({"shard": 7, "words": "ü"}, arrays)
    assert row.num_rows == 1
    assert note_of(row)["shard"] == 7
    note, found = from_row(row)
    assert note == {"shard": 7, "words": "ü"}
    for name, array in arrays.items():
        assert found[name].dtype == array.dtype
        assert found[name].tobytes() == array.tobytes()
        assert found[name].shape == array.shape
    assert not found["a"].flags.writeable
    assert from_row(to_row({"shard": 8})) == ({"shard": 8}, {})


def jpeg(width: int, height: int) -> bytes:
    buffer = io.BytesIO()
    pixels = RNG.integers(0, 256, (height // 8, width // 8, 3), np.uint8)
    Image.fromarray(pixels).resize((width, height)).save(buffer, "JPEG")
    return buffer.getvalue()


def test_decoded_pictures_small_reduced_and_refused() -> None:
    small, large = jpeg(120, 80), jpeg(800, 600)
    files = [small, large, b"no picture", large[: len(large) // 2]]
    decoded = [decode_file(file, LIMITS, 320) for file in files]
    row = decoded_row({"shard": 1}, [4, 5, 6, 7], decoded, [b"", large, b"", b""])
    found = dict(decoded_of(row, LIMITS))
    assert list(found) == [4, 5, 6, 7]
    assert [(d.bytes, d.pixels) for d in found.values()] == [(d.bytes, d.pixels) for d in decoded]
    whole, reduced = found[4].picture, found[5].picture
    assert isinstance(whole, Picture)
    assert isinstance(reduced, Picture)
    assert whole.whole is None
    np.testing.assert_array_equal(whole.pixels, decode(small, LIMITS))
    assert whole.pixels.flags.writeable  # networks are handed arrays that may be written to
    assert (reduced.pixels.shape, reduced.width, reduced.height) == ((300, 400, 3), 800, 600)
    assert reduced.whole is not None
    np.testing.assert_array_equal(reduced.whole(), decode(large, LIMITS))
    refused = [found[6].picture, found[7].picture]
    assert [r.reason for r in refused if isinstance(r, ImageRejected)] == [
        "not_an_image",
        "truncated",
    ]
    # Only what was refused by its header has no place among the pictures of a group.
    assert (found[6].bytes, found[6].pixels) == (0, 0)
    assert (found[7].bytes, found[7].pixels) == (len(files[3]), 800 * 600)


def extracted(faces: int, *, landmarks: bool = True) -> ExtractedImage:
    vectors = RNG.normal(size=(faces, 4)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    return ExtractedImage(
        width=640,
        height=480,
        detections=Detections(
            RNG.random((faces, 4)).astype(np.float32),
            RNG.random(faces).astype(np.float32),
            RNG.random((faces, 5, 2)).astype(np.float32) if landmarks else None,
        ),
        crops=FaceCrops(RNG.integers(0, 256, (faces, 112, 112, 3), np.uint8)),
        embeddings=Embeddings(vectors, CONTRACT),
    )


@pytest.mark.parametrize("landmarks", [True, False])
def test_results_of_no_one_and_several_faces(landmarks: bool) -> None:
    results = [
        (3, extracted(2, landmarks=landmarks)),
        (5, ImageRejected("extraction_failed", "RuntimeError: no")),
        (9, extracted(0, landmarks=landmarks)),
        (12, extracted(1, landmarks=landmarks)),
    ]
    found = dict(extracted_of(extracted_row({"shard": 1}, results, CONTRACT)))
    assert list(found) == [3, 5, 9, 12]
    refused = found[5]
    assert isinstance(refused, ImageRejected)
    assert (refused.reason, str(refused)) == ("extraction_failed", "RuntimeError: no")
    for image_id, wanted in results:
        one = found[image_id]
        if isinstance(wanted, ImageRejected):
            continue
        assert isinstance(one, ExtractedImage)
        assert (one.width, one.height, len(one)) == (640, 480, len(wanted))
        assert one.embeddings.contract == CONTRACT
        assert one.embeddings.vectors.tobytes() == wanted.embeddings.vectors.tobytes()
        assert one.crops.pixels.tobytes() == wanted.crops.pixels.tobytes()
        assert one.detections.boxes.tobytes() == wanted.detections.boxes.tobytes()
        assert (one.detections.landmarks is None) is not landmarks


def test_a_shard_without_pictures() -> None:
    assert dict(decoded_of(decoded_row({"shard": 1}, [], [], []), LIMITS)) == {}
    assert dict(extracted_of(extracted_row({"shard": 1}, [], CONTRACT))) == {}


def test_a_file_is_decoded_as_asked() -> None:
    file = jpeg(800, 600)
    full = decode_file(file, LIMITS, 0).picture
    assert isinstance(full, Picture)
    assert full.pixels.shape == (600, 800, 3)
    assert full.whole is None
    assert isinstance(decode_file(file, Limits(max_pixels=10), 0), Decoded)
