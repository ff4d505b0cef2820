"""The default pack in a real MLflow registry."""

from dataclasses import replace
from uuid import uuid4

import numpy as np
import pytest

from facecore.errors import ContractMismatch, RegistryUnavailable
from facecore.lifecycle import default_pack
from facecore.lifecycle.default_pack import (
    default_calibration,
    default_contract,
    default_verification,
    register_default_pack,
)
from facecore.lifecycle.thresholds import threshold_at, threshold_for_gallery
from facecore.stages.decode import Limits, decode
from facecore.stores.registry import Registry


@pytest.fixture
def registry(mlflow_server, tmp_path) -> Registry:
    """Model names of this test alone, in the shared server."""
    one = uuid4().hex[:8]
    settings = mlflow_server.model_copy(
        update={"detector": f"face-detector-{one}", "embedder": f"face-embedder-{one}"}
    )
    return Registry(settings, tmp_path / "cache")


def test_both_models_are_registered_once_as_champion(registry, pack, downloads):
    first = register_default_pack(registry, downloads)

    assert register_default_pack(registry, downloads) == first
    names = registry.settings
    for info, name, weights in zip(first, (names.detector, names.embedder), pack, strict=True):
        assert registry.resolve(name, "champion") == info
        assert info.version == 1
        assert len(registry.versions(name)) == 1
        assert info.weights_sha256 == weights.sha256
        assert info.tags["source_sha256"] == weights.source_sha256
        assert info.tags["licence"]
    embedder = first[1]
    assert embedder.contract["digest"] == default_contract(*pack).digest
    assert registry.calibration(embedder) == default_calibration().to_json()


def test_a_crash_between_the_two_models_is_made_good(registry, downloads, monkeypatch):
    register, calls = Registry.register, []

    def dies_at_the_second(self, package, *, alias=None):
        calls.append(package.name)
        if len(calls) == 2:
            raise RegistryUnavailable("the connection was lost.")
        return register(self, package, alias=alias)

    with monkeypatch.context() as patched:
        patched.setattr(Registry, "register", dies_at_the_second)
        with pytest.raises(RegistryUnavailable):
            register_default_pack(registry, downloads)

    detector, embedder = register_default_pack(registry, downloads)

    assert (detector.version, embedder.version) == (1, 1)
    assert len(registry.versions(registry.settings.detector)) == 1


def test_a_promotion_is_never_undone(registry, downloads, monkeypatch):
    _, first = register_default_pack(registry, downloads)
    other = replace(default_calibration(), dataset="another set")
    document = other.to_json()
    shipped = default_pack._shipped
    monkeypatch.setattr(
        default_pack, "_shipped", lambda what: document if what == "calibration" else shipped(what)
    )
    _, second = register_default_pack(registry, downloads)
    monkeypatch.undo()

    # The calibration is part of the version: what differs in it is another version.
    assert (first.version, second.version) == (1, 2)
    registry.set_alias(registry.settings.embedder, "champion", 2)
    register_default_pack(registry, downloads)

    assert registry.resolve(registry.settings.embedder).version == 2


def test_the_registered_pyfunc_finds_and_embeds_faces(registry, downloads, portraits, extractor):
    import pandas as pd

    detector, embedder = register_default_pack(registry, downloads)
    data = portraits[0].path.read_bytes()

    answers = registry.pyfunc(embedder).predict(pd.DataFrame({"image": [data, b"junk"]}))
    detected = registry.pyfunc(detector).predict(pd.DataFrame({"image": [data]}))

    (expected,) = extractor.extract([decode(data, Limits())])
    face = answers[0]["faces"][0]
    np.testing.assert_allclose(face["box"], expected.detections.boxes[0], atol=0.01)
    assert float(np.dot(face["embedding"], expected.embeddings.vectors[0])) > 0.999
    assert answers[1]["faces"] == []
    assert answers[1]["error"].startswith("not_an_image")
    assert detected[0]["faces"][0]["box"] == face["box"]


def test_the_card_states_what_was_measured_and_what_is_not_known(registry, downloads):
    from facecore.stores.mlflow_session import mlflow_session

    _, embedder = register_default_pack(registry, downloads)
    with mlflow_session(registry.settings) as client:
        card = client.get_model_version(embedder.name, "1").description
        run = client.get_run(embedder.run_id)

    assert "never disclosed" in card
    assert f"{default_verification()['accuracy']:.4f}" in card
    assert "facecore evaluate verification" in card
    assert "facecore evaluate calibrate" in card
    assert run.data.metrics["lfw_accuracy"] == default_verification()["accuracy"]


def test_a_calibration_of_other_weights_is_refused(registry, downloads, monkeypatch):
    foreign = replace(default_calibration(), contract="f" * 64).to_json()
    shipped = default_pack._shipped
    monkeypatch.setattr(
        default_pack, "_shipped", lambda what: foreign if what == "calibration" else shipped(what)
    )

    with pytest.raises(ContractMismatch):
        register_default_pack(registry, downloads)


def test_shipped_numbers_are_those_of_the_shipped_weights(pack):
    calibration, verification = default_calibration(), default_verification()

    assert calibration.contract == default_contract(*pack).digest
    assert verification["contract"] == calibration.contract
    assert calibration.impostors > 14_000_000
    assert calibration.supported_fmr == pytest.approx(3 / calibration.impostors)
    assert verification["accuracy"] >= 0.990
    assert len(verification["faces_not_found"]) <= verification["images"] / 1000
    for document in (calibration.provenance, verification["provenance"]):
        assert {"command", "precision", "date", "facecore"} <= set(document)
        assert "/" not in document["command"].replace("lfw/", "").replace("data/", "")


def test_shipped_thresholds_tell_the_portraits_apart(extractor, portraits):
    from facecore.lifecycle.main_face import embed_main_faces

    calibration = default_calibration()
    verification = threshold_at(calibration).threshold
    found = threshold_for_gallery(calibration, 0.01, 100)
    faces = embed_main_faces(extractor, [p.path for p in portraits])
    people = np.array([p.person for p in portraits])
    scores = faces.vectors @ faces.vectors.T
    same = people[:, None] == people[None, :]

    assert faces.found.all()
    assert scores[~same].max() < verification < found.threshold
    pairs = scores[same & ~np.eye(len(people), dtype=bool)]
    assert np.median(pairs) > found.threshold
