from __future__ import annotations

from facecore.stages import reasons


def test_every_code_is_described():
    codes = {v for k, v in vars(reasons).items() if k.isupper() and isinstance(v, str)}
    assert codes == set(reasons.REASONS)
    for code in codes:
        assert reasons.describe(code).endswith(".")


def test_an_unknown_code_describes_itself():
    assert reasons.describe("from_the_future") == "from_the_future"
