"""What tells a service whose request it is stays true for as long as the request runs."""

from __future__ import annotations

from weft.context import Context
from weft.transport.http import _identity
from weft.transport.signing import LIFETIME_S, ContextSigner

KEY = b"k" * 32


class Wall:
    """A clock on the wall."""

    def __init__(self) -> None:
        self.now_s = 1_000_000.0

    def __call__(self) -> float:
        return self.now_s


def verified(lines: bytes, signer: ContextSigner) -> tuple[str, str, list[str] | None] | None:
    header = lines.partition(b"x-weft-context: ")[2].partition(b"\r\n")[0]
    return signer.verify(header.decode())


def test_a_long_request_is_signed_anew() -> None:
    """A call minutes after the first is still the tenant's: an old signature would make it anybody's."""
    wall = Wall()
    signer, service = ContextSigner(KEY, now_s=wall), ContextSigner(KEY, now_s=wall)
    context = Context("r1", tenant="acme", caller="ann", readers=["staff"])
    first = _identity(context, signer)
    assert _identity(context, signer) is first
    wall.now_s += LIFETIME_S + 1
    assert verified(first, service) is None
    assert verified(_identity(context, signer), service) == ("acme", "ann", ["staff"])


def test_another_identity_is_never_sent_under_the_first() -> None:
    """Whoever changes whose request it is, calls under the new name from then on."""
    signer = ContextSigner(KEY)
    context = Context("r1", tenant="acme")
    _identity(context, signer)
    context.tenant = "other"
    assert verified(_identity(context, signer), signer) == ("other", "", None)
