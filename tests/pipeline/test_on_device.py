"""What runs on a GPU, run on the CPU and held against the CPU's own way."""

import copy
import io
import logging

import numpy as np
import PIL.Image
import pytest
import torch
from torchvision.io import ImageReadMode, decode_jpeg

from facecore.errors import ImageRejected
from facecore.pipeline.on_device import extract_on_device
from facecore.pipeline.stream import stream
from facecore.stages.align import align, pixels_per_crop_pixel, similarity
from facecore.stages.align_on_device import align_on_device, similarity_on_device
from facecore.stages.decode import Limits, decode, read
from facecore.stages.decode_on_device import decode_mixed, nvjpeg_share
from facecore.stages.workers import Workers
from facecore.types import Detections

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def pictures(files):
    """Portraits as they are and small, somebody twice, and nobody."""
    whole = [decode(data, Limits()) for data in files[:4]]

    def small(image, side):
        scale = side / max(image.shape[:2])
        size = tuple(round(n * scale) for n in (image.shape[1], image.shape[0]))
        return np.array(PIL.Image.fromarray(image).resize(size, PIL.Image.Resampling.LANCZOS))

    pair = np.zeros((250, 500, 3), np.uint8)
    for place, image in enumerate(whole[:2]):
        one = small(image, 250)
        pair[: one.shape[0], 250 * place : 250 * place + one.shape[1]] = one
    nobody = np.full((40, 90, 3), 60, np.uint8)
    return [whole[0], nobody, pair, *(small(image, 250) for image in whole), pair.copy(), whole[1]]


def test_the_same_faces_and_embeddings(extractor, pictures):
    expected = extractor.extract(pictures)
    found = extract_on_device(extractor.detector, extractor.embedder, pictures)
    assert found.counts == [len(one) for one in expected]
    assert found.counts[:3] == [1, 0, 2]
    boxes = np.concatenate([one.detections.boxes for one in expected])
    landmarks = np.concatenate([one.detections.landmarks for one in expected])
    vectors = np.concatenate([one.embeddings.vectors for one in expected])
    np.testing.assert_allclose(found.boxes, boxes, atol=0.5)
    np.testing.assert_allclose(found.landmarks, landmarks, atol=0.5)
    cosine = (found.vectors * vectors).sum(1)
    ordinary = pixels_per_crop_pixel(landmarks) < 2
    assert ordinary.sum() >= 6
    assert cosine[ordinary].min() >= 0.999
    assert cosine.min() >= 0.99


def test_pictures_that_are_on_the_device_already(extractor, pictures):
    given = [torch.from_numpy(p) if n % 2 else p for n, p in enumerate(pictures)]
    found = extract_on_device(extractor.detector, extractor.embedder, given)
    expected = extract_on_device(extractor.detector, extractor.embedder, pictures)
    assert found.counts == expected.counts
    np.testing.assert_array_equal(found.crops, expected.crops)


def test_nobody_anywhere(extractor):
    blank = [np.zeros((33, 44, 3), np.uint8)] * 2
    found = extract_on_device(extractor.detector, extractor.embedder, blank)
    assert found.counts == [0, 0]
    assert found.vectors.shape == (0, 128)
    assert found.crops.shape == (0, 112, 112, 3)


def test_similarity_is_the_same():
    points = np.random.default_rng(0).normal(100, 40, (50, 5, 2)).astype(np.float32)
    points[7] = 5.0  # all in one place
    found = similarity_on_device(torch.from_numpy(points)).numpy()
    np.testing.assert_allclose(found, similarity(points), rtol=1e-4, atol=1e-3)


def test_crops_at_the_border_are_the_same(pictures):
    """Black outside, exact inside, wherever the picture lies in the buffer."""
    rng = np.random.default_rng(1)
    base = np.array([[38, 52], [74, 52], [56, 72], [42, 92], [71, 92]], np.float32)
    detections, landmarks, owners = [], [], []
    for index, picture in enumerate(pictures):
        own = base * rng.uniform(0.7, 1.8, (3, 1, 1)).astype(np.float32)
        own += rng.uniform(-60, max(picture.shape[:2]), (3, 1, 2)).astype(np.float32)
        scores = np.full(3, 0.5, np.float32)
        detections.append(Detections(np.zeros((3, 4), np.float32), scores, own))
        landmarks.append(own)
        owners += [index] * 3
    expected = np.concatenate([crops.pixels for crops in align(pictures, detections)])
    flat = torch.from_numpy(np.concatenate([picture.reshape(-1, 3) for picture in pictures]))
    pixels = np.cumsum([0, *(p.shape[0] * p.shape[1] for p in pictures)])[:-1]
    sizes = torch.tensor([picture.shape[:2] for picture in pictures])
    found = align_on_device(
        flat,
        torch.from_numpy(pixels)[owners],
        sizes[owners],
        torch.from_numpy(np.concatenate(landmarks)),
    ).numpy()
    assert np.abs(found.astype(int) - expected).max() <= 2


def test_streaming(extractor, files):
    beside = copy.copy(extractor)
    beside.on_device = extractor.detector
    items = [files[0], b"nothing", files[1], files[2][: len(files[2]) // 2]]
    results = [r for _, r in stream([(i, lambda d=d: d) for i, d in enumerate(items)], beside)]
    assert [isinstance(r, ImageRejected) for r in results] == [False, True, False, True]
    expected = extractor.extract([decode(items[0], Limits()), decode(items[2], Limits())])
    for result, other in zip((results[0], results[2]), expected, strict=True):
        assert (result.width, result.height) == (other.width, other.height)
        assert float((result.embeddings.vectors * other.embeddings.vectors).sum()) >= 0.99


def encoded_files(files):
    turned = io.BytesIO()
    exif = PIL.Image.Exif()
    exif[0x112] = 6
    picture = PIL.Image.new("RGB", (60, 40), (10, 200, 30))
    picture.save(turned, "JPEG", exif=exif.tobytes())
    png = io.BytesIO()
    picture.save(png, "PNG")
    return [read(data, Limits()) for data in (*files[:4], turned.getvalue(), png.getvalue())]


def test_gpu_and_cpu_share_the_decoding(files):
    contents = encoded_files(files)
    on_gpu = []

    def gpu(encoded, device):
        on_gpu.append(len(encoded))
        return [decode_jpeg(one, mode=ImageReadMode.RGB) for one in encoded]

    decoded = decode_mixed(contents, CPU, Workers(threads=2), 0.5, gpu)
    assert on_gpu == [2]  # of four upright JPEGs; never the turned one or the PNG
    assert all(isinstance(one, torch.Tensor) for one in decoded)
    for content, one in zip(contents, decoded, strict=True):
        np.testing.assert_array_equal(np.asarray(one), content.decode())
    assert 0.0 == nvjpeg_share(64) < nvjpeg_share(4) < nvjpeg_share(2) < 1.0


def test_without_memory_on_the_device_pictures_wait_on_the_host(files, caplog, monkeypatch):
    """They are arrays then, which extraction brings up in halves."""
    contents = encoded_files(files)

    def full(self, *arguments, **options):
        raise torch.OutOfMemoryError

    with monkeypatch.context() as patch, caplog.at_level(logging.WARNING):
        patch.setattr(torch.Tensor, "to", full)
        decoded = decode_mixed(contents, CPU, Workers(), 0.0)
    assert "memory is full" in caplog.text
    for content, one in zip(contents, decoded, strict=True):
        assert isinstance(one, np.ndarray)
        np.testing.assert_array_equal(one, content.decode())


def test_without_memory_for_what_nvjpeg_decoded_the_cpu_decodes(files, caplog, monkeypatch):
    contents = encoded_files(files)

    def full(*arguments, **options):
        raise torch.OutOfMemoryError("CUDA out of memory")

    def gpu(encoded, device):
        return [decode_jpeg(one, mode=ImageReadMode.RGB) for one in encoded]

    with monkeypatch.context() as patch, caplog.at_level(logging.WARNING):
        patch.setattr(torch, "stack", full)
        decoded = decode_mixed(contents, CPU, Workers(), 1.0, gpu)
    assert "CUDA out of memory" in caplog.text
    for content, one in zip(contents, decoded, strict=True):
        np.testing.assert_array_equal(one, content.decode())


def test_what_the_gpu_refuses_the_cpu_decodes(files, caplog):
    broken = read(files[0][: len(files[0]) // 2], Limits())
    contents = [*encoded_files(files), broken]

    def gpu(encoded, device):
        raise RuntimeError("nvjpegDecode failed: 8")

    with caplog.at_level(logging.WARNING):
        decoded = decode_mixed(contents, CPU, Workers(), 1.0, gpu)
    assert "nvJPEG refused 5 pictures" in caplog.text
    assert isinstance(decoded[-1], ImageRejected)
    for content, one in zip(contents[:-1], decoded, strict=False):
        np.testing.assert_array_equal(one, content.decode())
