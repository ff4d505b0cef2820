import pytest

from facecore.errors import NotFound
from facecore.lifecycle.default_pack import default_calibration, default_verification
from facecore.lifecycle.model_card import model_card
from facecore.zoo.registry import spec


def test_without_measurements_it_is_the_zoos_card():
    assert model_card("yunet") == spec("yunet").card.rstrip() + "\n"
    with pytest.raises(NotFound):
        model_card("resnet-900")


def test_tables_hold_every_measured_row():
    calibration, verification = default_calibration(), default_verification()

    card = model_card("sface", calibration=calibration, verification=verification)

    assert card.count("\n## Verification\n") == card.count("\n## Thresholds\n") == 1
    for point in calibration.points:
        assert f"| {point.fmr:.1e} | {point.threshold:.4f} |" in card
    assert "| 100,000 | 1.0e-07 |" in card
    assert "| extrapolated |" in card
    assert "not stated: 1,500 impostor pairs support no false-accept rate below 2.0e-03" in card
