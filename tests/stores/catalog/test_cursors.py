"""The listing cursor is kept per bucket and prefix."""

from facecore.stores.catalog.work import cursors


def test_a_cursor_starts_empty_advances_and_starts_over(tx):
    assert cursors.start_after(tx, "landing", "") == ""
    cursors.advance(tx, "landing", "", "cam/b ü.jpg")
    cursors.advance(tx, "landing", "cam/", "cam/z")
    assert cursors.start_after(tx, "landing", "") == "cam/b ü.jpg"
    assert cursors.start_after(tx, "landing", "cam/") == "cam/z"
    cursors.advance(tx, "landing", "", "")
    assert cursors.start_after(tx, "landing", "") == ""
