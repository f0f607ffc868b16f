"""What every way of showing who one is has in common: it looks at a request, and knows the caller or does not."""

from __future__ import annotations

from typing import Protocol

from weft.context import Context, Identity
from weft.http.message import Request


class Source(Protocol):
    """One way of showing who one is: an API key, a token, a session, a certificate.

    The sources of a gateway are asked in turn, and the first identity counts. What a source gives:

    - ``caller``, ``tenant``, ``readers``: whose request it is, and what may be read.
    - ``roles``: those that were given to the caller by name (a key's, an account's). The rules of the Gateway file add
      to them; a source does not look at the rules.
    - ``scopes``: the names or paths of the routes to which what was shown is restricted, and ``admin`` for what
      administers; empty restricts nothing. A token's own ``scope`` stays in ``claims``.
    - ``claims``: what a token says, for the rules.
    - ``shown``: by what.

    The same object for the same caller is best: its roles are then worked out once.
    """

    async def __call__(self, request: Request, context: Context) -> Identity | None:
        """Who asks; None when nothing of this kind was shown.

        Asked for every request, so it waits for nothing but what is new to it (a key set of a provider, say).

        Raises:
            UnauthorizedError: Something of this kind was shown, and is not valid.
            UnavailableError: What it takes to tell is not there now.
        """
        ...
