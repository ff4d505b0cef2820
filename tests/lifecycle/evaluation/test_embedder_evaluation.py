import json

import numpy as np
import pandas as pd
import pytest

from facecore.errors import ShapeError, UsageError
from facecore.lifecycle.evaluation import evaluate_embedder
from facecore.lifecycle.evaluation.face_scores import score_faces
from facecore.lifecycle.thresholds import Calibration


def test_vectors_reach_their_rows_whatever_the_order_of_packs(evaluated, snapshot):
    _, vectors = snapshot
    assert (evaluated[0].scores.vectors == vectors).all()


def test_the_document_is_plain_json_and_its_calibration_can_be_read_back(evaluated):
    found = evaluated[0]

    document = json.loads(json.dumps(found.to_json(), allow_nan=False))

    assert document["kind"] == "embedder"
    assert document["threshold"]["threshold"] == found.threshold.threshold
    assert document["verification"]["eer"]["value"] == found.verification.eer.value
    assert Calibration.from_json(document["calibration"]).points == found.calibration.points
    assert len(document["examples"]["impostors"]) == 12
    assert "pictures" not in document["examples"]
    assert {"auc", "eer", "rank_1", "threshold", "tar_at_far_1e-03"} <= set(found.metrics())
    assert all(np.isfinite(value) for value in found.metrics().values())


def test_the_threshold_is_stored_with_its_interval(evaluated):
    found = evaluated[0]
    assert found.calibrated_here
    assert found.threshold.fmr == 1e-3
    assert found.threshold.low <= found.threshold.threshold <= found.threshold.high


def test_a_deployed_calibration_is_used_as_it_is(evaluated, snapshot, embed):
    made, vectors = snapshot
    deployed = evaluated[1].calibration

    found = evaluate_embedder(embed(vectors), made, calibration=deployed)

    assert not found.calibrated_here
    assert found.calibration is deployed
    assert found.threshold == evaluated[1].threshold
    assert found.slices[0].threshold == deployed_threshold(evaluated[1])


def deployed_threshold(evaluation):
    return evaluation.threshold.threshold


def test_a_rate_that_the_data_do_not_support_is_raised_not_promised(snapshot, embed):
    made, vectors = snapshot
    found = evaluate_embedder(embed(vectors), made, target_fmr=1e-9)
    assert found.threshold.fmr == found.calibration.supported_fmr > 1e-9


def test_the_pairs_of_the_data_set_are_judged_by_threshold_of_other_pairs(evaluated, snapshot):
    made, vectors = snapshot
    found = evaluated[0].protocol

    assert found.pairs == len(made.listed)
    assert len(found.folds) == 10
    cosine = (vectors[made.listed.left] * vectors[made.listed.right]).sum(1)
    best = max(
        ((cosine >= threshold) == made.listed.same).mean() for threshold in np.unique(cosine)
    )
    assert found.accuracy == pytest.approx(best, abs=0.05)


def test_examples_are_the_worst_and_carry_their_pictures(evaluated, snapshot):
    made, _ = snapshot
    found = evaluated[1].examples

    scores = evaluated[1].scores
    similar = scores.vectors @ scores.vectors.T
    other = scores.people[:, None] != scores.people[None]
    assert found.impostors[0].score == pytest.approx(similar[other].max(), abs=1e-6)
    assert found.genuine[0].score == pytest.approx(scores.genuine.scores.min())
    assert set(found.pictures) == set(found.rows.tolist())
    row = found.genuine[0].left
    assert (found.pictures[row] == made.crops_of(np.array([row]))[0]).all()


def test_columns_of_the_user_are_sliced_by_default(snapshots, embed):
    made, vectors = snapshots(group=np.where(np.arange(240) < 120, "x", "y"))
    made.labels = ("group",)

    found = evaluate_embedder(embed(vectors), made)

    assert [report.column for report in found.slices] == ["source", "group"]
    chosen = evaluate_embedder(embed(vectors), made, slices=["quality"])
    assert [report.column for report in chosen.slices] == ["quality"]
    assert [one.value.split()[0] for one in chosen.slices[0].slices] == ["low", "middle", "high"]


def test_faces_of_nobody_known_and_of_no_quality_are_counted_and_left_out(snapshots, embed):
    made, vectors = snapshots()
    made.table.loc[:9, "identity"] = None
    made.table["quality"] = np.nan

    found = evaluate_embedder(embed(vectors), made)

    assert (found.faces, found.unlabelled) == (240, 10)
    assert found.verification.images == 230
    assert found.discard is None


def test_few_people_are_an_error_and_some_are_enough_for_less(snapshots, embed):
    made, vectors = snapshots(people=4, images=3)
    made.listed = None
    found = evaluate_embedder(embed(vectors), made)
    assert found.threshold.fmr == pytest.approx(3 / 54)
    assert found.identification.open_set == ()
    assert found.protocol is None

    made, vectors = snapshots(people=2, images=2)
    with pytest.raises(UsageError, match="too few"):
        evaluate_embedder(embed(vectors), made)
    with pytest.raises(UsageError, match="no faces in split 'val'"):
        evaluate_embedder(embed(vectors), made, split="val")


def test_an_embedder_that_does_not_normalise_is_refused(snapshot, embed):
    made, vectors = snapshot
    with pytest.raises(ShapeError, match="unit length"):
        evaluate_embedder(embed(vectors * 3), made)


def test_a_fold_column_decides_where_there_is_one(snapshots, embed):
    made, vectors = snapshots()
    made.listed = pd.DataFrame({**made.listed, "fold": np.arange(120) % 4})
    assert len(evaluate_embedder(embed(vectors), made).protocol.folds) == 4
    made.listed["fold"] = 4  # one fold of a protocol
    assert len(evaluate_embedder(embed(vectors), made).protocol.folds) == 10


def test_scores_of_a_snapshot_are_those_of_its_vectors(evaluated, faces):
    assert evaluated[0].scores.genuine.scores == pytest.approx(score_faces(*faces).genuine.scores)
