"""The list of tenant checks is true: each is where it is said to be, and none in SQL is missing from it."""

from __future__ import annotations

from checks import _TENANT_IN_SQL, IN_SQL, LISTED, SOURCE, in_sql


def test_checks_are_where_they_are_said_to_be() -> None:
    """Whoever moves a check moves its entry, so that `mutate.py` goes on taking out all of them."""
    for check in LISTED:
        text = (SOURCE / check.path).read_text()
        assert check.taken_out(text) != text, check.name


def test_every_condition_on_the_tenant_is_watched_over() -> None:
    """A file with such a condition in SQL names the tests that fail without it."""
    found = {
        str(path.relative_to(SOURCE))
        for path in SOURCE.rglob("*.py")
        if _TENANT_IN_SQL.search(path.read_text())
    }
    assert {path for path in found if not path.startswith(("gateway/access/", "gateway/login/"))} == set(
        IN_SQL
    )
    assert len(in_sql()) > 30
