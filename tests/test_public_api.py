"""What others build on: the error tree as its docstring draws it, and types that refuse."""

from __future__ import annotations

import re

import numpy as np
import pytest

from facecore import errors
from facecore.errors import ContractMismatch, FacecoreError, ShapeError
from facecore.types import Contract, Detections, Embeddings, FaceCrops


def drawn_tree() -> dict[str, str | None]:
    """Class → parent, as the docstring of errors.py draws it."""
    parents: dict[str, str | None] = {}
    path: list[str] = []
    for line in (errors.__doc__ or "").splitlines():
        if (found := re.match(r"^    ([│ ]*)(?:[├└]── )?([A-Z]\w+)", line)) is None:
            continue
        if "──" not in line and "FacecoreError" not in line:
            continue
        depth = 0 if "──" not in line else (line.index("──") - 1 - 4) // 4 + 1
        path = path[:depth]
        parents[found[2]] = path[-1] if path else None
        path.append(found[2])
    return parents


def test_the_drawn_error_tree_is_the_real_one() -> None:
    real = {
        name: kind.__base__.__name__ if kind is not FacecoreError else None
        for name, kind in vars(errors).items()
        if isinstance(kind, type) and issubclass(kind, FacecoreError)
    }
    assert drawn_tree() == real


def test_errors_say_whether_a_retry_helps() -> None:
    assert errors.CatalogUnavailable("down").retryable
    assert not errors.ObjectMissing("images", "ab").retryable
    assert not errors.ConfigError("wrong").retryable
    assert errors.ConfigError("wrong").exit_status == 2
    assert errors.CatalogUnavailable("down").exit_status == 1


def test_errors_carry_message_and_remedy() -> None:
    error = errors.ConfigError("The port is taken.", remedy="Choose another.")
    assert str(error) == "The port is taken. Choose another."
    assert error.remedy == "Choose another."


@pytest.mark.parametrize(
    ("boxes", "scores", "landmarks"),
    [
        (np.zeros((2, 3), np.float32), np.zeros(2, np.float32), None),
        (np.zeros((2, 4), np.float64), np.zeros(2, np.float32), None),
        (np.zeros((2, 4), np.float32), np.zeros(3, np.float32), None),
        (np.zeros((2, 4), np.float32), np.full(2, 1.5, np.float32), None),
        (np.zeros((2, 4), np.float32), np.full(2, np.nan, np.float32), None),
        (np.zeros((2, 4), np.float32), np.zeros(2, np.float32), np.zeros((1, 5, 2), np.float32)),
    ],
)
def test_detections_refuse_what_they_do_not_promise(boxes, scores, landmarks) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(ShapeError, match="expected"):
        Detections(boxes, scores, landmarks)


def test_crops_and_embeddings_are_validated() -> None:
    with pytest.raises(ShapeError, match="112"):
        FaceCrops(np.zeros((1, 100, 112, 3), np.uint8))
    contract = Contract("sface", "a" * 64, 4, "b" * 64)
    with pytest.raises(ShapeError, match="unit length"):
        Embeddings(np.full((1, 4), 2.0, np.float32), contract)
    with pytest.raises(ShapeError, match="unit length"):
        Embeddings(np.full((1, 4), np.nan, np.float32), contract)
    assert len(Embeddings(np.full((1, 4), 0.5, np.float32), contract)) == 1


def test_two_contracts_never_mix() -> None:
    one, other = (Contract("sface", c * 64, 128, "b" * 64) for c in "ac")
    one.require(one)
    with pytest.raises(ContractMismatch) as caught:
        one.require(other)
    assert (caught.value.expected, caught.value.actual) == (one.digest, other.digest)
