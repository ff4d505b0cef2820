import threading
import time

import pytest

from facecore.errors import ImageRejected, ObjectStoreUnavailable
from facecore.pipeline.extract import ExtractedImage
from facecore.pipeline.stream import stream
from facecore.stages.decode import Limits


def ours():
    return [t for t in threading.enumerate() if t.name.startswith("facecore-decode")]


def test_order_and_completeness(extractor, files):
    def slow(data, index):
        time.sleep(0.05 if index % 3 == 0 else 0)
        return data

    items = ((i, lambda i=i: slow(files[i % len(files)], i)) for i in range(13))
    results = list(stream(items, extractor, batch_images=4, workers=3))
    assert [key for key, _ in results] == list(range(13))
    assert all(isinstance(result, ExtractedImage) and len(result) for _, result in results)
    assert not ours()


def test_one_bad_image_costs_one_image(extractor, files):
    def refused():
        raise ImageRejected("too_many_bytes", "larger than allowed")

    broken = files[0][: len(files[0]) // 3]
    items = [
        ("good", lambda: files[0]),
        ("cut", lambda: broken),
        ("text", lambda: b"not an image"),
        ("refused", refused),
        ("last", lambda: files[1]),
    ]
    results = dict(stream(iter(items), extractor))
    reasons = {k: r.reason for k, r in results.items() if isinstance(r, ImageRejected)}
    assert reasons == {
        "cut": "truncated",
        "text": "not_an_image",
        "refused": "too_many_bytes",
    }
    assert len(results["good"]) == len(results["last"]) == 1


def test_limits_apply(extractor, files):
    ((_, result),) = stream([(0, lambda: files[0])], extractor, Limits(max_pixels=1000))
    assert isinstance(result, ImageRejected)
    assert result.reason == "too_many_pixels"


def test_a_failing_store_ends_the_stream_cleanly(extractor, files):
    def down():
        raise ObjectStoreUnavailable("connection refused")

    items = [(i, lambda: files[0]) for i in range(3)] + [(3, down)] + [(4, lambda: files[0])] * 50
    results = []

    def consume():
        for key, _ in stream(iter(items), extractor, batch_images=2):
            results.append(key)

    with pytest.raises(ObjectStoreUnavailable, match="connection refused"):
        consume()
    assert results == [0, 1]  # whole batches before the failure
    assert not ours()


def test_a_failing_listing_ends_the_stream_cleanly(extractor, files):
    def listing():
        yield 0, lambda: files[0]
        raise ObjectStoreUnavailable("no more pages")

    with pytest.raises(ObjectStoreUnavailable, match="no more pages"):
        list(stream(listing(), extractor))
    assert not ours()


def test_stopping_early_leaves_no_threads_and_fetches_no_more(extractor, files):
    fetched = []

    def fetch(i):
        fetched.append(i)
        return files[0]

    items = ((i, lambda i=i: fetch(i)) for i in range(10_000))
    results = stream(items, extractor, batch_images=2, workers=2)
    assert next(results)[0] == 0
    results.close()
    assert not ours()
    assert len(fetched) < 20


def test_what_waits_is_bounded(extractor, files):
    """While the caller is busy, no more than the limits is fetched."""
    fetched = []

    def fetch(i):
        fetched.append(i)
        return files[i % len(files)]

    def consume(**limits):
        fetched.clear()
        items = ((i, lambda i=i: fetch(i)) for i in range(1000))
        results = stream(items, extractor, workers=2, **limits)
        next(results)
        time.sleep(0.5)
        waiting = len(fetched)
        results.close()
        return waiting

    # 2 extracted, at most 4 ahead of those.
    assert 2 <= consume(batch_images=2) <= 6
    # A pixel of budget: one image at a time, besides the one each worker has in hand.
    assert 1 <= consume(batch_images=8, max_pixels_waiting=1) <= 4


def test_nothing_in_nothing_out(extractor):
    assert list(stream([], extractor)) == []
    assert not ours()
