"""What rows carry: a shard's decoded pictures, and what was found on them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from facecore.errors import ImageRejected
from facecore.jobs.on_ray.rows import Array, Row, from_row, to_row
from facecore.pipeline.decoded import Decoded
from facecore.pipeline.extract import ExtractedImage, Picture
from facecore.stages.decode import Limits, read
from facecore.types import CROP_SIZE, Contract, Detections, Embeddings, FaceCrops

_FLOATS = np.dtype(np.float32)


@dataclass(frozen=True, slots=True)
class Refusal:
    """An `ImageRejected` as plain values."""

    code: str
    detail: str

    @classmethod
    def of(cls, rejected: ImageRejected) -> Refusal:
        return cls(rejected.reason, str(rejected))

    def error(self) -> ImageRejected:
        return ImageRejected(self.code, self.detail)


def decoded_row(
    note: Mapping[str, Any],
    image_ids: Sequence[int],
    decoded: Sequence[Decoded],
    files: Sequence[bytes],
) -> Row:
    """Decoded pictures of a shard.

    Args:
        files: the file of each picture that was decoded in reduced size, so that it can be
            decoded in full where that is needed; empty for the others.
    """
    refused = {}
    pixels: list[Array] = []
    shapes = np.zeros((len(decoded), 2), np.int64)
    sizes = np.zeros((len(decoded), 2), np.int64)
    for index, one in enumerate(decoded):
        if isinstance(one.picture, ImageRejected):
            refused[index] = asdict(Refusal.of(one.picture))
            continue
        image = np.asarray(one.picture.pixels)
        shapes[index], sizes[index] = image.shape[:2], (one.picture.width, one.picture.height)
        pixels.append(image.reshape(-1))
    arrays = {
        "image": np.array(image_ids, np.int64),
        "bytes": np.array([one.bytes for one in decoded], np.int64),
        "area": np.array([one.pixels for one in decoded], np.int64),
        "shape": shapes,
        "size": sizes,
        "pixels": np.concatenate([np.zeros(0, np.uint8), *pixels]),
        "file_bytes": np.array([len(file) for file in files], np.int64),
        "files": np.frombuffer(b"".join(files), np.uint8),
    }
    return to_row({**note, "refused": refused}, arrays)


def decoded_of(row: Row, limits: Limits) -> Iterator[tuple[int, Decoded]]:
    """Image id and picture, one after another; only one is copied out of the row at a time."""
    note, arrays = from_row(row)
    starts = np.cumsum([0, *(3 * arrays["shape"].prod(axis=1))])
    files = np.cumsum([0, *arrays["file_bytes"]])
    for index, image_id in enumerate(arrays["image"]):
        if (refused := note["refused"].get(str(index))) is not None:
            picture: Picture | ImageRejected = Refusal(**refused).error()
        else:
            # A copy: networks are handed arrays that may be written to.
            pixels = arrays["pixels"][starts[index] : starts[index + 1]].copy()
            width, height = (int(value) for value in arrays["size"][index])
            file = arrays["files"][files[index] : files[index + 1]]
            picture = Picture(
                pixels.reshape(*arrays["shape"][index], 3),
                width,
                height,
                whole=_InFull(file, limits) if len(file) else None,
            )
        yield (
            int(image_id),
            Decoded(picture, int(arrays["bytes"][index]), int(arrays["area"][index])),
        )


@dataclass(frozen=True, slots=True)
class _InFull:
    """Decodes a picture in full size."""

    file: Array
    limits: Limits

    def __call__(self) -> npt.NDArray[np.uint8]:
        return read(self.file.tobytes(), self.limits).decode()


def extracted_row(
    note: Mapping[str, Any],
    results: Sequence[tuple[int, ExtractedImage | ImageRejected]],
    contract: Contract,
) -> Row:
    """What was found in a shard's pictures."""
    refused = {
        image_id: asdict(Refusal.of(result))
        for image_id, result in results
        if isinstance(result, ImageRejected)
    }
    found = [(i, result) for i, result in results if isinstance(result, ExtractedImage)]
    detections = Detections.join([result.detections for _, result in found])
    landmarks = detections.landmarks
    crops = [result.crops.pixels for _, result in found]
    vectors = [result.embeddings.vectors for _, result in found]
    arrays: dict[str, Array] = {
        "image": np.array([image_id for image_id, _ in found], np.int64),
        "size": np.array([(r.width, r.height) for _, r in found], np.int64).reshape(-1, 2),
        "faces": np.array([len(result) for _, result in found], np.int64),
        "boxes": detections.boxes,
        "scores": detections.scores,
        "landmarks": np.zeros((0, 5, 2), _FLOATS) if landmarks is None else landmarks,
        "crops": np.concatenate([np.zeros((0, CROP_SIZE, CROP_SIZE, 3), np.uint8), *crops]),
        "vectors": np.concatenate([np.zeros((0, contract.dimension), _FLOATS), *vectors]),
    }
    words = {"refused": refused, "contract": asdict(contract)}
    return to_row({**note, **words, "landmarks": landmarks is not None}, arrays)


def extracted_of(row: Row) -> Iterator[tuple[int, ExtractedImage | ImageRejected]]:
    """Image id and result, by id."""
    note, arrays = from_row(row)
    contract = Contract(**note["contract"])
    landmarks = arrays["landmarks"] if note["landmarks"] else None
    detections = Detections(arrays["boxes"], arrays["scores"], landmarks)
    ends = np.cumsum(arrays["faces"])
    starts = ends - arrays["faces"]
    results: dict[int, ExtractedImage | ImageRejected] = {
        int(image_id): Refusal(**refused).error() for image_id, refused in note["refused"].items()
    }
    for image_id, (width, height), start, end in zip(
        arrays["image"], arrays["size"], starts, ends, strict=True
    ):
        part = slice(int(start), int(end))
        results[int(image_id)] = ExtractedImage(
            width=int(width),
            height=int(height),
            detections=detections[part],
            crops=FaceCrops(arrays["crops"][part]),
            embeddings=Embeddings(arrays["vectors"][part], contract),
        )
    yield from sorted(results.items())
