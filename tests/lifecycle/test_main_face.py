import numpy as np
import pytest

from facecore.errors import UsageError
from facecore.lifecycle.main_face import embed_main_faces, main_face
from facecore.types import Detections


def faces(*boxes) -> Detections:
    return Detections(
        np.array(boxes, np.float32), np.linspace(0.9, 0.7, len(boxes)).astype(np.float32)
    )


def test_no_face_is_none():
    assert main_face(Detections.empty(), 250, 250) is None


@pytest.mark.parametrize(
    ("boxes", "expected"),
    [
        # equally large: the one in the middle, whatever the detector's score
        ([(0, 0, 60, 60), (95, 95, 155, 155)], 1),
        # a speck in the exact middle does not win over a face near it
        ([(120, 120, 130, 130), (60, 60, 160, 180)], 1),
        # a bystander's larger face at the edge loses
        ([(0, 0, 90, 100), (85, 80, 165, 170)], 1),
        # much larger and only a little off the middle wins
        ([(110, 110, 140, 140), (60, 40, 200, 220)], 1),
    ],
)
def test_the_person_is_large_and_central(boxes, expected):
    assert main_face(faces(*boxes), 250, 250) == expected


def test_files_keep_their_order_and_unusable_ones_count_as_faceless(
    extractor, portraits, tmp_path, caplog
):
    text = tmp_path / "not-an-image.jpg"
    text.write_text("hello")
    usable = [p.path for p in portraits[:2]]
    steps = []

    found = embed_main_faces(
        extractor,
        [usable[0], text, usable[1]],
        progress=lambda done, of: steps.append((done, of)),
    )
    alone = embed_main_faces(extractor, [usable[1]])

    assert found.found.tolist() == [True, False, True]
    assert not found.vectors[1].any()
    assert float(found.vectors[2] @ alone.vectors[0]) > 0.9999
    assert "not-an-image.jpg is left out" in caplog.text
    assert steps == [(3, 3)]
    with pytest.raises(UsageError, match="No such file"):
        embed_main_faces(extractor, [tmp_path / "absent.jpg"])
