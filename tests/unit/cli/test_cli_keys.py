"""`weft keys` and `weft audit`, on the database of an installation and through a running gateway."""

from __future__ import annotations

import asyncio
import json
import sqlite3
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from accesskit import KEYS, bearer, made
from frontkit import FrontRig, ask
from weft.cli.main import group
from weft.errors import ConflictError, NotFoundError, RequestError, StateError, UsageError


def weft(*line: str, env: dict[str, str] | None = None) -> Result:
    return CliRunner().invoke(
        group, line, env={"WEFT_ACCESS_TOKEN": "", "WEFT_SERVICE_KEY": "", **(env or {})}
    )


def done(*line: str, env: dict[str, str] | None = None) -> Result:
    result = weft(*line, env=env)
    assert result.exit_code == 0, (result.output, result.exception)
    return result


@pytest.fixture
def front(tmp_path: Path) -> Path:
    """A spec with a Gateway document."""
    path = tmp_path / "front.yaml"
    path.write_text(KEYS)
    return path


def test_a_key_is_printed_alone_and_shown_once(front: Path, tmp_path: Path) -> None:
    """A script takes the key from stdout; the list has everything but the secret."""
    where = ("--spec", str(front), "--data", str(tmp_path / "data"))
    result = done(
        "keys", "create", "our site", "--scope", "talk", "--expires", "30d", "--reader", "staff", *where
    )
    secret = result.stdout.strip()
    assert secret.startswith("weft_")
    assert "shown this once" in result.stderr
    listed = done("keys", "list", *where).stdout
    assert "our site" in listed
    assert "only talk" in listed
    assert secret[18:] not in listed
    (key,) = json.loads(done("keys", "list", "--json", *where).stdout)
    assert (key["id"], key["owner"], key["readers"]) == (secret[5:17], "our site", ["staff"])
    assert 29 * 86_400 < key["expires_at"] - key["created_at"] <= 30 * 86_400


def test_a_key_is_rotated_and_revoked_by_name_or_id(front: Path, tmp_path: Path) -> None:
    """Each is recorded with who did it, and a second time there is nothing to revoke."""
    where = ("--spec", str(front), "--data", str(tmp_path / "data"))
    first = done("keys", "create", "site", *where).stdout.strip()
    second = done("keys", "rotate", "site", "--grace", "1h", *where)
    assert second.stdout.strip()[5:17] == first[5:17]
    assert "The old one holds until" in second.stderr
    assert "site" in done("keys", "revoke", first[5:17], *where).stdout
    assert isinstance(weft("keys", "revoke", "site", *where).exception, NotFoundError)
    records = json.loads(done("audit", "list", "--json", *where).stdout)
    assert [record["event"] for record in records] == ["key.revoked", "key.rotated", "key.created"]
    assert all(record["actor"].startswith("command line") for record in records)
    assert "3 records, each as it was written" in done("audit", "verify", *where).stdout
    shown = done("audit", "list", "--event", "key.rotated", *where).stdout
    assert "grace_s=3600.0" in shown


def test_the_data_folder_of_the_spec_is_the_one_of_up(front: Path, tmp_path: Path) -> None:
    """Without --data the keys are where `weft up` of that spec looks for them."""
    done("keys", "create", "site", "--spec", str(front), env={"WEFT_DATA_DIR": str(tmp_path / "home")})
    assert (tmp_path / "home" / "front" / "gateway.sqlite").is_file()


@pytest.mark.parametrize(
    ("line", "error", "said"),
    [
        (("keys", "create", "x", "--expires", "soon"), UsageError, "a number and s, m, h or d: 24h"),
        (("keys", "create", "x", "--expires", "2020-13-45"), UsageError, "is no day"),
        (("keys", "create", "x", "--expires", "2020-01-01"), RequestError, "ended already"),
        (("keys", "create", "site"), ConflictError, "weft keys revoke 'site'"),
        (("keys", "rotate", "site", "--grace", "1 week"), UsageError, "24h"),
        (("keys", "revoke", "sit"), NotFoundError, "did you mean 'site'"),
        (
            ("audit", "list", "--event", "key.made"),
            UsageError,
            "did you mean 'key.rotated'|events: key.created",
        ),
        (("audit", "verify", "--noted", "7"), UsageError, "NUMBER:DIGEST"),
    ],
)
def test_mistakes_are_told_with_what_to_write(
    tmp_path: Path, line: tuple[str, ...], error: type[Exception], said: str
) -> None:
    """Each with the choices, or an example."""
    done("keys", "create", "site", "--data", str(tmp_path))
    result = weft(*line, "--data", str(tmp_path))
    assert isinstance(result.exception, error), result.exception
    assert any(part in str(result.exception) for part in said.split("|")), result.exception


def test_a_spec_without_a_gateway_has_no_keys(tmp_path: Path) -> None:
    """It is said that keys are for a Gateway document."""
    path = tmp_path / "plain.yaml"
    path.write_text(KEYS.partition("apiVersion: weft/v1\nkind: Gateway")[0].removesuffix("---\n"))
    result = weft("keys", "list", "--spec", str(path))
    assert isinstance(result.exception, UsageError)
    assert "kind: Gateway" in str(result.exception)


def test_a_log_that_was_tampered_with_ends_with_its_own_status(tmp_path: Path) -> None:
    """Exit status 8, and the record is named; a digest that was noted shows a log that was made anew."""
    done("keys", "create", "site", "--data", str(tmp_path))
    done("keys", "create", "other", "--data", str(tmp_path))
    (record, _) = json.loads(done("audit", "list", "--json", "--data", str(tmp_path)).stdout)
    noted = f"{record['number']}:{record['digest']}"
    assert "2 records" in done("audit", "verify", "--noted", noted, "--data", str(tmp_path)).stdout
    database = sqlite3.connect(tmp_path / "gateway.sqlite")
    database.execute("UPDATE weft_audit SET actor = 'nobody' WHERE number = 1")
    database.commit()
    result = weft("audit", "verify", "--data", str(tmp_path))
    assert isinstance(result.exception, StateError)
    assert result.exception.exit_code == 8
    assert "record 1: it was changed after it was written" in str(result.exception)
    database.execute("DELETE FROM weft_audit")
    database.execute("DELETE FROM weft_counters WHERE name = 'audit'")
    database.commit()
    database.close()
    assert "0 records" in done("audit", "verify", "--data", str(tmp_path)).stdout
    result = weft("audit", "verify", "--noted", noted, "--data", str(tmp_path))
    assert "record 2: it was noted, and is not here" in str(result.exception)


@pytest.fixture
async def rig(tmp_path: Path) -> AsyncIterator[FrontRig]:
    async with AsyncExitStack() as stack:
        yield FrontRig(tmp_path, stack)


async def test_a_running_gateway_is_administered(rig: FrontRig) -> None:
    """With an administrator's key in WEFT_ACCESS_TOKEN the same commands work on it; without one they are refused."""
    admin = await made(rig, "root", roles=["admin"])
    gateway = await rig.gateway(KEYS)

    async def remotely(*line: str, key: str = admin) -> Result:
        return await asyncio.to_thread(weft, *line, "--url", rig.url, env={"WEFT_ACCESS_TOKEN": key})

    first = (await remotely("keys", "create", "site", "--role", "editor")).stdout.strip()
    assert (await ask(gateway, "/v1/greet", bearer(first), stream=False))[0] == 200
    second = (await remotely("keys", "rotate", "site", "--grace", "0s")).stdout.strip()
    assert (await ask(gateway, "/v1/greet", bearer(first)))[0] == 401
    assert (await ask(gateway, "/v1/greet", bearer(second), stream=False))[0] == 200
    listed: list[dict[str, Any]] = json.loads((await remotely("keys", "list", "--json")).stdout)
    assert {key["name"] for key in listed} == {"root", "site"}
    assert "is revoked" in (await remotely("keys", "revoke", "site")).stdout
    assert "key.revoked" in (await remotely("audit", "list", "--event", "key.revoked")).stdout
    assert "4 records" in (await remotely("audit", "verify")).stdout
    refused = await remotely("keys", "list", key=second)
    assert "this API key was revoked" in str(refused.exception)
