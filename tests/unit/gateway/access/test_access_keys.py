"""API keys in the database: what they look like, and what is made of one that is created, rotated, revoked."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from accesskit import Opener, Wall
from weft.context import Identity
from weft.errors import ConflictError, InvalidRequestError, NotFoundError, UnauthorizedError, UnavailableError
from weft.gateway.access.audit import AuditLog
from weft.gateway.access.index import LOOK_S, USED_COARSE_S, KeyIndex, Known
from weft.gateway.access.keys import KeyStore, NewKey, StoredKey
from weft.gateway.access.secret import digest_of, is_whole, new_id, new_key
from weft.serve.log import Log
from weft.store import Database

KEY = re.compile(r"weft_[0-9a-z]{12}_[0-9A-Za-z]{49}")


def store(database: Database, wall: Wall) -> KeyStore:
    return KeyStore(database, AuditLog(database, now_s=wall), now_s=wall)


def index(keys: KeyStore, wall: Wall, clock: Callable[[], float] | None = None) -> KeyIndex:
    return KeyIndex(keys, log=Log(name="test"), stale_s=60, now_s=wall, clock=clock or wall)


# What a key looks like.


def test_a_key_is_what_scanners_are_told_to_look_for() -> None:
    """Every key fits the expression of the documentation, has its id in it, and a checksum that fits."""
    for _ in range(100):
        key_id = new_id()
        key = new_key(key_id)
        assert KEY.fullmatch(key)
        assert key[5:17] == key_id
        assert is_whole(key)


def test_two_keys_have_nothing_in_common() -> None:
    """Ids and secrets are random."""
    keys = {new_key(new_id()) for _ in range(1000)}
    assert len({key[5:17] for key in keys}) == len({key[18:61] for key in keys}) == 1000


@given(st.integers(0, 66), st.characters(codec="ascii"))
def test_a_key_with_one_character_changed_is_not_whole(at: int, character: str) -> None:
    """The checksum finds every key that was mistyped in one place, or cut."""
    key = new_key("0123456789ab")
    changed = key[:at] + character + key[at + 1 :]
    assert is_whole(changed) == (changed == key)
    assert not is_whole(key[:at])


# Keys in the database.


async def test_a_key_is_found_with_all_that_it_was_made_with(opener: Opener) -> None:
    """Another process knows the caller of a new key: tenant, owner, readers, roles and scopes."""
    wall = Wall()
    new = NewKey("site", "acme", "ann", ["staff", "hr"], ["editor"], ["chatqna"], wall.now_s + 10)
    made = await store(opener(), wall).create(new, "the test")
    assert made.key == (await store(opener(), wall).listed())[0]
    other = index(store(opener(), wall), wall)
    await other.refresh()
    assert other.find(made.secret) == Identity(
        caller="ann",
        tenant="acme",
        readers=("staff", "hr"),
        roles=frozenset({"editor"}),
        scopes=frozenset({"chatqna"}),
        key=made.key.id,
        shown="key",
    )


async def test_the_secret_is_nowhere_in_the_database(opener: Opener) -> None:
    """Of a secret there is a digest, in the table of keys and in no other place."""
    database, wall = opener(), Wall()
    keys = store(database, wall)
    made = await keys.create(NewKey("site"), "the test")
    rotated = await keys.rotate("site", "the test")
    kept = repr([await database.fetch(f"SELECT * FROM {table}") for table in ("weft_keys", "weft_audit")])
    for secret in (made.secret, rotated.secret):
        assert secret[18:61] not in kept
        assert digest_of(secret).hex() in kept
    assert made.secret not in repr(made)


async def test_a_rotated_key_has_two_secrets_for_a_while(opener: Opener) -> None:
    """The old secret holds for the grace time and no longer; the one before it ends at once."""
    wall = Wall()
    keys = store(opener(), wall)
    here = index(keys, wall)
    first = (await keys.create(NewKey("site"), "the test")).secret
    second = (await keys.rotate("site", "the test", grace_s=100)).secret
    await here.refresh()
    assert here.find(first) == here.find(second)
    wall.now_s += 99
    here.find(first)
    wall.now_s += 1
    with pytest.raises(UnauthorizedError):
        here.find(first)
    third = (await keys.rotate("site", "the test", grace_s=100)).secret
    await here.refresh()
    assert here.find(second) == here.find(third)
    fourth = (await keys.rotate("site", "the test", grace_s=0)).secret
    await here.refresh()
    for old in (first, second, third):
        with pytest.raises(UnauthorizedError):
            here.find(old)
    here.find(fourth)


async def test_a_revoked_key_is_refused_once_another_process_has_looked(opener: Opener) -> None:
    """A revocation elsewhere reaches an index with its next look, and cannot be undone by a rotation."""
    wall = Wall()
    keys = store(opener(), wall)
    made = await keys.create(NewKey("site"), "the test")
    here = index(store(opener(), wall), wall)
    await here.refresh()
    here.find(made.secret)
    await keys.revoke(made.key.id, "the test")
    await here.refresh()
    with pytest.raises(UnauthorizedError, match="revoked"):
        here.find(made.secret)
    with pytest.raises(NotFoundError):
        await keys.rotate("site", "the test")
    again = await keys.create(NewKey("site"), "the test")
    await here.refresh()
    here.find(again.secret)
    assert len(here) == 1


async def test_an_expired_key_is_refused(opener: Opener) -> None:
    """From the second on in which it ends."""
    wall = Wall()
    keys = store(opener(), wall)
    made = await keys.create(NewKey("site", expires_at=wall.now_s + 10), "the test")
    here = index(keys, wall)
    await here.refresh()
    here.find(made.secret)
    wall.now_s += 10
    with pytest.raises(UnauthorizedError, match="expired"):
        here.find(made.secret)


async def test_two_keys_that_hold_cannot_have_one_name(opener: Opener) -> None:
    """Also when two processes make them at the same time."""
    wall = Wall()
    await store(opener(), wall).create(NewKey("site"), "the test")
    with pytest.raises(ConflictError, match="weft keys revoke 'site'"):
        await store(opener(), wall).create(NewKey("site", tenant="other"), "the test")


@pytest.mark.parametrize(
    "new",
    [
        NewKey(""),
        NewKey(" site"),
        NewKey("a\nb"),
        NewKey("a" * 101),
        NewKey("site", tenant=""),
        NewKey("site", tenant="a b"),
        NewKey("site", owner="\x00"),
        NewKey("site", readers=[""]),
        NewKey("site", roles=["a b"]),
        NewKey("site", scopes=["x" * 201]),
        NewKey("site", expires_at=1.0),
        NewKey("site", expires_at=1e300),
    ],
    ids=repr,
)
async def test_what_cannot_be_a_key_is_refused(opener: Opener, new: NewKey) -> None:
    """Names, groups and times that make no sense are an error of the caller's, and leave nothing."""
    keys = store(opener(), Wall())
    with pytest.raises(InvalidRequestError):
        await keys.create(new, "the test")
    assert await keys.listed() == []


async def test_an_unknown_key_is_named_with_its_nearest(opener: Opener) -> None:
    """A slip in a name is answered with the name that was meant."""
    keys = store(opener(), Wall())
    await keys.create(NewKey("our-site"), "the test")
    with pytest.raises(NotFoundError, match="did you mean 'our-site'"):
        await keys.revoke("our-sit", "the test")


async def test_use_is_written_down_coarsely(opener: Opener) -> None:
    """A key that is used all the time is written down once in some minutes, and its last use only grows."""
    wall = Wall()
    keys = store(opener(), wall)
    made = await keys.create(NewKey("site"), "the test")
    here = index(keys, wall)
    await here.start()
    begun = wall.now_s
    for _ in range(3):
        here.find(made.secret)
        wall.now_s += USED_COARSE_S / 4
    await here.stop()
    assert (await keys.listed())[0].used_at == begun
    await keys.note_used({made.key.id: begun - 1000})
    assert (await keys.listed())[0].used_at == begun


# The index and a database that is away.


class Away(KeyStore):
    """Keys in a database that can be taken away."""

    is_away = False

    def __init__(self) -> None:
        self.stored: list[StoredKey] = []
        self.looks = 0

    async def changed_since(self, revision: int) -> list[StoredKey]:
        self.looks += 1
        if self.is_away:
            raise UnavailableError("the database db/front cannot be reached: refused")
        return [key for key in self.stored if key.revision > revision]

    async def note_used(self, used: dict[str, float]) -> None:
        raise UnavailableError("the database db/front cannot be reached: refused")


def stored(secret: str) -> StoredKey:
    key_id = secret[5:17]
    return StoredKey(key_id, Identity(key=key_id), digest_of(secret), b"", 0, 0, 0, 0, 1)


async def test_known_keys_hold_while_the_database_is_away_and_no_longer_than_is_said() -> None:
    """For `stale_s` after the last look that succeeded; then 503, for nobody knows what was revoked; then well again."""
    wall, keys, secret = Wall(), Away(), new_key("0123456789ab")
    keys.stored.append(stored(secret))
    here = index(keys, wall)
    await here.refresh()
    keys.is_away = True
    wall.now_s += 60
    with pytest.raises(UnavailableError):
        await here.refresh()
    here.find(secret)
    wall.now_s += 1
    with pytest.raises(UnavailableError, match="API keys cannot be checked now: the database db/front"):
        here.find(secret)
    keys.is_away = False
    await here.refresh()
    here.find(secret)
    assert here.trouble == ""


async def test_a_new_key_holds_at_once_and_made_up_ones_cost_the_database_little() -> None:
    """A key that is not known is looked for, a few times a second at most; while the database is away it is just refused."""
    wall, keys, secret = Wall(), Away(), new_key("0123456789ab")
    here = index(keys, wall)
    await here.refresh()
    keys.stored.append(stored(secret))
    assert (await here.find_new(secret)).key == "0123456789ab"
    looks = keys.looks
    for _ in range(1000):
        with pytest.raises(UnauthorizedError):
            await here.find_new(new_key(new_id()))
    assert keys.looks == looks
    wall.now_s += LOOK_S
    with pytest.raises(UnauthorizedError):
        await here.find_new("weft_nonsense")
    assert keys.looks == looks
    keys.is_away = True
    with pytest.raises(UnauthorizedError):
        await here.find_new(new_key(new_id()))
    wall.now_s += LOOK_S
    with pytest.raises(UnauthorizedError):
        await here.find_new(new_key(new_id()))
    assert keys.looks == looks + 1


async def test_before_the_first_look_nobody_is_refused_for_good() -> None:
    """A gateway that has not seen the database yet answers 503 and not 401: an SDK tries the first again."""
    keys = Away()
    keys.is_away = True
    here = index(keys, Wall())
    await here.start()
    with pytest.raises(UnavailableError):
        here.find(new_key("0123456789ab"))
    await here.stop()


@given(st.text(max_size=80))
def test_nothing_that_is_shown_can_do_more_than_be_refused(shown: str) -> None:
    """Whatever stands in the header: 401, and no other error."""
    wall, secret = Wall(), new_key("0123456789ab")
    here = index(Away(), wall)
    here._keys["0123456789ab"] = stored(secret)
    for text in (shown, f"weft_{shown}", secret[:17] + shown, secret + shown[:1] + "x"):
        with pytest.raises(UnauthorizedError):
            here.find(text)


async def test_what_is_known_outlives_a_reload_while_the_database_is_away() -> None:
    """An index that takes the place of another has its keys, and counts on from its last look."""
    wall, keys, secret = Wall(), Away(), new_key("0123456789ab")
    keys.stored.append(stored(secret))
    known = Known()
    first = KeyIndex(keys, log=Log(name="test"), stale_s=60, now_s=wall, clock=wall, known=known)
    await first.refresh()
    keys.is_away = True
    second = KeyIndex(keys, log=Log(name="test"), stale_s=60, now_s=wall, clock=wall, known=known)
    await second.start()
    second.find(secret)
    wall.now_s += 61
    with pytest.raises(UnavailableError):
        second.find(secret)
    await second.stop()
