"""Every place that keeps tenants, readers and callers apart, with what it is when it is taken out.

Conditions in SQL are found by themselves (:func:`in_sql`); all else is listed: the text as it stands, the text without the
check, and the tests that have to notice. Whoever writes a new check adds it here; whoever moves one is told so by
``test_checks_are_where_they_are_said_to_be``.
"""

from __future__ import annotations

import io
import re
import tokenize
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

SOURCE: Final = Path(__file__).parents[2] / "src" / "weft"

TENANTS: Final = "tests/tenants/test_tenants.py"
ROUTES: Final = "tests/unit/gateway/access/test_access_routes.py"
PROCESSES: Final = "tests/unit/gateway/access/test_access_processes.py"
KEYS: Final = "tests/unit/gateway/access/test_access_keys.py"
IDENTITY: Final = "tests/unit/transport/test_transport_identity.py"
STORES: Final = "tests/unit/components/store/test_store_promises.py"
EDGE: Final = "tests/unit/components/store/test_store_qdrant_edge.py"
PGVECTOR: Final = "tests/unit/components/store/test_store_pgvector.py"
ARCHIVE: Final = "tests/unit/components/store/test_store_archive.py"
JOBS: Final = "tests/unit/components/dataprep/test_ingest_jobs.py"
APART: Final = "tests/tenants/test_apart.py"


@dataclass(frozen=True)
class Check:
    """One check.

    Attributes:
        path: Of its file, in ``src/weft``.
        there: The text that has it, once in the file.
        gone: The same without it.
        tests: Files of tests, one of which fails without it.
        at: Where in the file, for a check that was found by itself; None: ``there`` says where.
        doubled: Which other check keeps what this one keeps, so that no test can tell when it is gone; empty: none does.
    """

    path: str
    there: str
    gone: str
    tests: tuple[str, ...]
    at: int | None = None
    doubled: str = ""

    @property
    def name(self) -> str:
        """For people."""
        return f"{self.path}: {' '.join(self.there.split())[:90]}"

    def taken_out(self, text: str) -> str:
        """The file's text without the check.

        Raises:
            LookupError: It is not there, or more than once.
        """
        if self.at is not None:
            return text[: self.at] + self.gone + text[self.at + len(self.there) :]
        if text.count(self.there) != 1:
            raise LookupError(f"{self.path}: there {text.count(self.there)} times: {self.there}")
        return text.replace(self.there, self.gone)


def _of(path: str, *tests: str, changes: dict[str, str]) -> list[Check]:
    return [Check(path, there, gone, tests) for there, gone in changes.items()]


LISTED: Final = [
    # Who asks, as it is shown.
    *_of(
        "gateway/access/authenticator.py",
        ROUTES,
        TENANTS,
        PROCESSES,
        changes={
            "        context.identify(identity)\n": "",
            "        if route is not None and route.needs and not may(identity, route.needs):": "        if False:",
            "        if any(get(name) is not None for name in _SHOWN):": "        if False:",
            "        if self._anonymous:\n            return None": "        if True:\n            return None",
            "        if known is None:\n            raise UnauthorizedError(": "        if known is None:\n            return None\n            raise UnauthorizedError(",
            "    if role == ADMIN and identity.scopes and ADMIN not in identity.scopes:": "    if False:",
            "    return role in identity.roles or ADMIN in identity.roles": "    return True",
        },
    ),
    *_of(
        "gateway/access/stage.py",
        ROUTES,
        changes={
            "        if not self.admits_scopes(identity):": "        if False:",
            "        if not self.admits_roles(identity):": "        if False:",
        },
    ),
    *_of(
        "gateway/access/index.py",
        KEYS,
        changes={
            "        if not compare_digest(digest, key.digest) and not (": "        if False and not (",
            "            now_s < key.old_until and compare_digest": "            compare_digest",
            "        if key.revoked_at:\n            raise": "        if False:\n            raise",
            "        if key.expires_at and now_s >= key.expires_at:\n            raise": "        if False:\n            raise",
            '        if self._known.trouble and self.is_stale:\n            raise UnavailableError(f"API keys cannot be checked now: {self.trouble}")\n        if key is None:': "        if key is None:",
        },
    ),
    *_of(
        "gateway/access/keys.py",
        KEYS,
        changes={
            "        tenant=tenant,\n": "",
            "        readers=None if groups is None else tuple(groups),\n": "",
            "        scopes=frozenset(_decode_names(scopes)),\n": "",
        },
    ),
    *_of(
        "context.py",
        TENANTS,
        changes={
            "        self.tenant, self.caller = identity.tenant, identity.caller\n": "",
            "        self.readers = None if identity.readers is None else list(identity.readers)\n": "",
            "        return self.tenant, self.readers": "        return DEFAULT_TENANT, self.readers",
        },
    ),
    # Between processes and machines.
    *_of(
        "serve/application.py",
        "tests/unit/serve/test_serve_application.py",
        PROCESSES,
        changes={
            "            if self._only_signed:": "            if False:",
            '        if known is None:\n            raise UnauthorizedError(\n                "x-weft-context': '        if known is None:\n            return\n            raise UnauthorizedError(\n                "x-weft-context',
            "        context.tenant, context.caller, context.readers = known\n": "",
        },
    ),
    *_of(
        "transport/signing.py",
        IDENTITY,
        PROCESSES,
        changes={
            "        if not dot or not hmac.compare_digest(mac, self._mac(body.encode())):": "        if not dot:",
            "        if now_s >= known[0]:\n            return None": "        if False:\n            return None",
            "        identity = context.tenant, context.caller, readers\n": "        identity = '', context.caller, readers\n",
            "hmac.compare_digest(seal, self.seal(body))": "True",
        },
    ),
    *_of(
        "transport/http.py",
        IDENTITY,
        changes={"    if known is not None and known[0] == signed:": "    if known is not None:"},
    ),
    *_of(
        "transport/loopback.py",
        APART,
        changes={"        tenant=context.tenant,\n": "", "        readers=context.readers,\n": ""},
    ),
    *_of(
        "gateway/build.py",
        PROCESSES,
        TENANTS,
        changes={
            "        verifier=signer,\n        only_signed=True,": "        verifier=signer,",
            "verifier=verifier, only_signed=verifier is not None": "verifier=verifier",
            "assembly.refuse_strangers_tenants()": "pass",
            "else scoped(contract, call)": "else call",
        },
    ),
    *_of(
        "gateway/stages.py",
        ROUTES,
        TENANTS,
        changes={"(access := assembly.desk.stage(rule)) is not None": "(access := None) is not None"},
    ),
    # Documents.
    *_of(
        "contracts/store.py",
        TENANTS,
        STORES,
        changes={
            "        tenant, readers = self._scope()\n        return await self._store.search(replace(request, tenant=tenant, readers=readers))": "        tenant, readers = self._scope()\n        return await self._store.search(replace(request, readers=readers))",
            "self._store.search(replace(request, tenant=tenant, readers=readers))": "self._store.search(replace(request, tenant=tenant))",
            "self._store.upsert(replace(request, tenant=self._scope()[0]))": "self._store.upsert(request)",
            "self._store.delete(replace(request, tenant=self._scope()[0]))": "self._store.delete(request)",
            "self._store.list(replace(request, tenant=self._scope()[0]))": "self._store.list(request)",
            "self._store.read(replace(request, tenant=tenant, readers=readers))": "self._store.read(request)",
            "replace(await self._store.describe(request), passages=0)": "await self._store.describe(request)",
            "self._store.collections(replace(request, tenant=self._scope()[0]))": "self._store.collections(request)",
        },
    ),
    *_of(
        "megaservice.py",
        TENANTS,
        changes={
            "        return scope(used, context.scope) if scope is not None else used": "        return used"
        },
    ),
    *_of(
        "components/store/conditions.py",
        TENANTS,
        changes={
            '(readers IS NULL OR EXISTS ("': '(readers IS NULL OR 1 OR EXISTS ("',
        },
    ),
    *_of(
        "components/store/vectors.py",
        TENANTS,
        STORES,
        EDGE,
        changes={
            '            FieldCondition("scope", match=MatchValue(scope_of(scope))),\n': "",
        },
    ),
    Check(
        "components/store/vectors.py",
        '            FieldCondition("readers", match=MatchAny(groups(scope.readers or [], everyone=True))),\n',
        "",
        (TENANTS,),
        doubled="the statement that reads the passages leaves out what may not be read, and the search is done again",
    ),
    *_of(
        "components/store/pg_source.py",
        TENANTS,
        PGVECTOR,
        STORES,
        changes={
            "            _equals(self.tenant, scope.tenant, self.owner, values),\n": "",
            "        if self.readers is not None and readable:": "        if False:",
        },
    ),
    *_of(
        "components/embedding/remembered.py",
        APART,
        changes={
            "        key = (scope()[0], text)\n        found": '        key = ("", text)\n        found',
            "        key = (scope()[0], text)\n        self._kept[key]": '        key = ("", text)\n        self._kept[key]',
        },
    ),
    # Jobs.
    *_of(
        "components/dataprep/ingest.py",
        TENANTS,
        JOBS,
        changes={
            "            context.tenant,\n            context.caller,": '            "default",\n            context.caller,',
            "    return (current.get(None) or Context()).tenant": '    return "default"',
        },
    ),
    *_of(
        "components/dataprep/work.py",
        TENANTS,
        JOBS,
        changes={
            "Context(row.id, tenant=row.tenant, caller=row.caller, readers=row.readers)": "Context(row.id)",
            "(job.row.tenant, job.row.collection) == (tenant, collection)": "job.row.collection == collection",
        },
    ),
    # Histories, and what else is kept for a caller.
    *_of(
        "gateway/protocols/asking.py",
        TENANTS,
        "tests/unit/gateway/protocols/test_responses.py",
        "tests/unit/gateway/protocols/test_mcp.py",
        "tests/unit/gateway/protocols/test_every_protocol.py",
        changes={
            "        [context.tenant, context.caller,": '        ["", context.caller,',
            "context.caller, identity.key if": '"", identity.key if',
        },
    ),
    *_of(
        "gateway/protocols/asking.py",
        "tests/unit/gateway/protocols/test_every_protocol.py",
        changes={"    own.identify(context.identity)\n": ""},
    ),
    *_of(
        "gateway/protocols/idempotency.py",
        TENANTS,
        changes={"owner, name = owner_of(passage.context), ": 'owner, name = "", '},
    ),
    *_of(
        "gateway/protocols/mcp.py",
        "tests/unit/gateway/protocols/test_every_protocol.py",
        "tests/unit/gateway/protocols/test_mcp.py",
        changes={
            "            if front is None or front.lets_in(tool.name, context.identity)": "            if True"
        },
    ),
    *_of(
        "gateway/cache/keys.py",
        TENANTS,
        changes={
            "    return [context.tenant, None if": '    return ["", None if',
            "None if readers is None else sorted(set(readers))]": "None]",
            "exact = _digest([whose, what, rest])": "exact = _digest([what, rest])",
            "_digest([whose, what, others,": "_digest([what, others,",
        },
    ),
    # What is told of routes, and handed on to foreign servers.
    *_of(
        "gateway/app.py",
        TENANTS,
        changes={
            "        return self.front is None or self.front.lets_in(name, context.identity)": "        return True"
        },
    ),
    *_of(
        "gateway/upstream/headers.py",
        TENANTS,
        changes={"(HOP | WRITTEN | SECRET | ABOUT_CLIENT)": "(HOP | WRITTEN | ABOUT_CLIENT)"},
    ),
    # What is counted.
    *_of(
        "gateway/limits/subjects.py",
        APART,
        "tests/unit/gateway/limits/test_requests.py",
        changes={
            "{_short(identity.tenant)}/": "/",
            "    return _short(passage.identity.tenant)": '    return ""',
            '    return f"k:{_short(shown)}" if shown else user(passage)': '    return "k:" if shown else user(passage)',
        },
    ),
]

_TENANT_IN_SQL: Final = re.compile(r"\b(?:[a-z]\.)?tenant = (?:\?\d?|\$\d|[a-z]\.tenant)")

_STRINGS: Final = (tokenize.STRING, getattr(tokenize, "FSTRING_MIDDLE", tokenize.STRING))

IN_SQL: Final[dict[str, tuple[str, ...]]] = {
    "components/store/passages.py": (TENANTS, ARCHIVE, EDGE, STORES),
    "components/store/conditions.py": (TENANTS, EDGE, STORES),
    "components/store/edge_archive.py": (ARCHIVE,),
    "components/store/pgvector.py": (TENANTS, PGVECTOR, STORES),
    "components/store/pg_tables.py": (TENANTS, PGVECTOR, STORES),
    "components/store/pg_archive.py": (ARCHIVE,),
    "components/dataprep/jobs.py": (TENANTS, JOBS),
}
"""Files with conditions on the tenant in SQL, and the tests that watch over them."""


def in_sql() -> list[Check]:
    """Every ``tenant = ?`` of a statement, each of which is true for every tenant when it is taken out."""
    return [check for path, tests in IN_SQL.items() for check in _in_file(path, tests)]


def _in_file(path: str, tests: tuple[str, ...]) -> Iterator[Check]:
    text = (SOURCE / path).read_text()
    starts = [0]
    for line in text.splitlines(keepends=True):
        starts.append(starts[-1] + len(line))
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type not in _STRINGS:
            continue
        begin = starts[token.start[0] - 1] + token.start[1]
        for match in _TENANT_IN_SQL.finditer(token.string):
            yield Check(path, match[0], f"({match[0]} OR 1 = 1)", tests, begin + match.start())
