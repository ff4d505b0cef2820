import numpy as np
import torch

from facecore.pipeline.load import load_extractor
from facecore.stages.align import align
from facecore.stages.decode import Limits, decode


def test_everything_is_in_one_order(extractor, files):
    images = [decode(data, Limits()) for data in files]
    images.insert(1, np.full((40, 900, 3), 128, np.uint8))  # nobody
    found = extractor.extract(images)
    assert [len(one) for one in found[:2]] == [1, 0]
    assert found[1].embeddings.vectors.shape == (0, 128)
    for image, one in zip(images, found, strict=True):
        assert (one.height, one.width) == image.shape[:2]
        assert len(one) == len(one.detections) == len(one.crops) == len(one.embeddings)
        assert one.embeddings.contract == extractor.contract
        # The embeddings are those of the crops that come with them.
        again = extractor.embedder.embed(one.crops).vectors
        np.testing.assert_allclose(again, one.embeddings.vectors, atol=1e-4)


def test_no_images_no_results(extractor):
    assert extractor.extract([]) == []


def test_company_in_the_batch_changes_nothing(extractor, files):
    images = [decode(data, Limits()) for data in files[:3]]
    together = extractor.extract(images)
    for image, one in zip(images, together, strict=True):
        (alone,) = extractor.extract([image])
        np.testing.assert_allclose(alone.detections.boxes, one.detections.boxes, atol=0.05)
        np.testing.assert_allclose(alone.embeddings.vectors, one.embeddings.vectors, atol=5e-3)


def test_threads_change_nothing(extractor, files, pack):
    detector, embedder = pack
    images = [decode(data, Limits()) for data in files]
    before = torch.get_num_threads()
    try:
        single = load_extractor(
            *(detector.path, detector.sha256, embedder.path, embedder.sha256),
            precision="fp32",
            threads=1,
        )
        for one, other in zip(single.extract(images), extractor.extract(images), strict=True):
            np.testing.assert_allclose(one.embeddings.vectors, other.embeddings.vectors, atol=5e-3)
    finally:
        torch.set_num_threads(before)


def test_another_detector_end_to_end(untrained_ssdlite, files, pack):
    """Untrained, it finds anything; whatever it finds is cropped and embedded consistently."""
    _, embedder = pack
    extractor = load_extractor(
        *untrained_ssdlite,
        *(embedder.path, embedder.sha256),
        detector="ssdlite",
        precision="fp32",
        score_threshold=0.4,
        nms_iou=0.0,  # few boxes, apart from one another
        sides_px=(320,),
    )
    images = [decode(data, Limits()) for data in files[:1]]
    images.insert(1, np.full((1, 300, 3), 128, np.uint8))
    found = extractor.extract(images)
    assert extractor.contract.detector_sha256 == untrained_ssdlite[1]
    assert sum(len(one) for one in found) > 0
    crops = align(images, [one.detections for one in found])
    for one, aligned in zip(found, crops, strict=True):
        assert len(one.detections) == len(one.crops) == len(one.embeddings)
        np.testing.assert_array_equal(one.crops.pixels, aligned.pixels)
        again = extractor.embedder.embed(one.crops).vectors
        np.testing.assert_allclose(again, one.embeddings.vectors, atol=1e-4)
