"""The kind Gateway as frozen data: where it listens, its routes, who may call them, how much and how they are changed."""

# ruff: noqa: RUF009 - _marks() declares a field, as dataclasses.field() does

from __future__ import annotations

from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, Final, Literal

from weft.spec import keys
from weft.spec.keys import key
from weft.spec.model import Condition, Marks, MegaserviceSpec, PlacementSpec, SecretRef, ServicesSpec

ADDRESS: Final = keys.Text(
    "an address to listen on",
    r"(\[[0-9a-fA-F:.]+\]|[A-Za-z0-9.-]*):[0-9]{1,5}",
    "HOST:PORT, or :PORT for every address",
)
PATH: Final = keys.Text(
    "a path", r"/[A-Za-z0-9._~/{}@:-]*", "/ and segments of letters, digits and - . _ ~ @ :"
)
URL: Final = keys.Text("a URL", r"https?://[^\s]+", "http:// or https:// and a host")
RATE: Final = keys.Text(
    "an amount for a time",
    r"[0-9]+(\.[0-9]+)?/(s|min|hour|day|month)",
    "NUMBER/UNIT; units: s, min, hour, day, month",
)
DAY: Final = keys.Text("a day", r"[0-9]{4}-[0-9]{2}-[0-9]{2}", "YEAR-MONTH-DAY: 2027-01-31")
HEADER: Final = keys.Text("a header's name", r"[A-Za-z0-9!#$%&'*+.^_`|~-]+", "letters, digits and hyphens")
METHOD: Final = keys.Choice(("GET", "POST", "PUT", "PATCH", "DELETE"))
FIELD_PATH: Final = keys.Text(
    "the path of a field",
    r"[A-Za-z_][A-Za-z0-9_]*(\.[A-Za-z_][A-Za-z0-9_]*)*",
    "names joined by dots: stream_options.include_usage",
)
SCHEMA_KEY: Final = keys.Text(
    "a key of a JSON Schema", r"[$A-Za-z][$A-Za-z0-9_-]*", "$ref, $defs, type, properties, ...", "bad-name"
)
_SECONDS: Final = keys.Number("a number of seconds", 86_400)
_SHARE: Final = keys.Whole("a share", 0, 1_000_000)

PER: Final = ("key", "user", "tenant", "route", "model", "address")
"""What a limit may count by."""


def _marks() -> Any:
    return field(default_factory=Marks, compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class TlsSpec:
    """``tls:`` of a listener; files are relative to the Gateway file and read again when they change."""

    cert: str = field(metadata=key(keys.ANY_TEXT, "File with the certificate and its chain, PEM."))
    key_: str = field(metadata=key(keys.ANY_TEXT, "File with its private key, PEM."))
    client_ca: str | None = field(
        default=None,
        metadata=key(keys.ANY_TEXT, "File with the authorities of clients' certificates: asks for them."),
    )
    client: Literal["required", "optional"] = field(
        default="required",
        metadata=key(keys.Choice(("required", "optional")), "Whether a client needs a certificate."),
    )
    marks: Marks = _marks()


@dataclass(frozen=True, slots=True)
class ListenSpec:
    """One address to listen on: exactly one of ``http``, ``https`` and ``grpc``."""

    http: str | None = field(default=None, metadata=key(ADDRESS, "Address for HTTP."))
    https: str | None = field(default=None, metadata=key(ADDRESS, "Address for HTTP over TLS."))
    grpc: str | None = field(
        default=None, metadata=key(ADDRESS, "Address for gRPC, over TLS where it has tls.")
    )
    tls: TlsSpec | None = field(default=None, metadata=key(keys.Block(TlsSpec, "tls"), "Its certificate."))
    marks: Marks = _marks()


@dataclass(frozen=True, slots=True, kw_only=True)
class VersionSpec:
    """One of several versions of what a route serves."""

    version: str = field(metadata=key(keys.Version(), 'Its version, in quotes: "1.0.0".'))
    from_: str = field(
        default="",
        metadata=key(keys.ANY_TEXT, "The spec's file, relative to this one, or a packaged example."),
    )
    weight: int = field(
        default=1, metadata=key(_SHARE, "Its share of the requests that name no version; 0: by name only.")
    )
    mirror: int = field(
        default=0,
        metadata=key(
            keys.Whole("a percentage", 0, 100),
            "How many of a hundred requests it gets a copy of, whose replies are thrown away.",
        ),
    )
    deprecated: str | None = field(
        default=None, metadata=key(DAY, "Since when it should not be used; in the header Deprecation.")
    )
    sunset: str | None = field(
        default=None, metadata=key(DAY, "When it ends; in the header Sunset. From then on: 410.")
    )
    notice: str | None = field(default=None, metadata=key(URL, "A page about its end; in the header Link."))
    marks: Marks = _marks()


@dataclass(frozen=True, slots=True)
class HeadersSpec:
    """What becomes of headers."""

    set_: dict[str, str] = field(
        default_factory=dict,
        metadata=key(
            keys.Table(HEADER, keys.ANY_TEXT, "a mapping of headers to values"), "Set to these; templates."
        ),
    )
    remove: tuple[str, ...] = field(
        default=(), metadata=key(keys.Items(HEADER, "a list of headers"), "Taken away.")
    )
    marks: Marks = _marks()


@dataclass(frozen=True, slots=True)
class TransformSpec:
    """How a body is changed: set, rename, remove, defaults, clamp, in this order, whatever the order in the file."""

    set_: dict[str, Condition] = field(
        default_factory=dict,
        metadata=key(
            keys.Table(FIELD_PATH, keys.Expression(), "a mapping of fields to expressions"),
            "Fields that become the value of an expression over body, headers and caller.",
        ),
    )
    template: dict[str, str] = field(
        default_factory=dict,
        metadata=key(
            keys.Table(FIELD_PATH, keys.ANY_TEXT, "a mapping of fields to templates"),
            "Fields that become a text with the values of ${EXPRESSION} in it; done with set.",
        ),
    )
    rename: dict[str, str] = field(
        default_factory=dict,
        metadata=key(keys.Table(FIELD_PATH, FIELD_PATH, "a mapping of fields to new names"), "New names."),
    )
    remove: tuple[str, ...] = field(
        default=(), metadata=key(keys.Items(FIELD_PATH, "a list of fields"), "Taken away.")
    )
    defaults: dict[str, Any] = field(
        default_factory=dict,
        metadata=key(keys.Table(FIELD_PATH, keys.Json(), "a mapping of fields to values"), "Where absent."),
    )
    clamp: dict[str, tuple[Any, ...]] = field(
        default_factory=dict,
        metadata=key(
            keys.Table(
                FIELD_PATH,
                keys.Items(keys.Limit(), "a list of two numbers"),
                "a mapping of fields to bounds",
            ),
            "Numbers brought between two bounds; an absent one takes the greatest.",
        ),
    )
    headers: HeadersSpec | None = field(
        default=None, metadata=key(keys.Block(HeadersSpec, "headers"), "What becomes of headers.")
    )
    marks: Marks = _marks()


@dataclass(frozen=True, slots=True, kw_only=True)
class LimitSpec:
    """How much somebody may use: exactly one of ``requests``, ``tokens``, ``cost`` and ``concurrent``."""

    per: str = field(metadata=key(keys.Choice(PER), "By what is counted."))
    requests: str | None = field(default=None, metadata=key(RATE, "Requests: 60/min."))
    tokens: str | None = field(default=None, metadata=key(RATE, "Tokens read and written: 200000/day."))
    cost: str | None = field(
        default=None, metadata=key(RATE, "In the currency of the price table: 50/month.")
    )
    concurrent: int | None = field(
        default=None, metadata=key(keys.Whole("a number of requests", 1, 1_000_000), "Requests at a time.")
    )
    queue: int = field(
        default=0,
        metadata=key(
            keys.Whole("a number of requests", 0, 1_000_000), "How many wait for a place; with concurrent."
        ),
    )
    marks: Marks = _marks()


@dataclass(frozen=True, slots=True)
class CacheSpec:
    """Replies kept for the next who asks the same, or nearly the same."""

    ttl_s: float = field(default=3600, metadata=key(_SECONDS, "Seconds that a reply is kept."))
    semantic: float | None = field(
        default=None,
        metadata=key(
            keys.Number("a similarity", 1), "Least cosine of two questions for which one reply serves."
        ),
    )
    embedder: str | None = field(
        default=None, metadata=key(keys.NAME, "The service that embeds the questions; with semantic.")
    )
    max_entries: int = field(
        default=10_000, metadata=key(keys.Whole("a number of replies", 1, 10_000_000), "Kept at most.")
    )
    max_bytes: int = field(
        default=268_435_456,
        metadata=key(keys.Whole("a number of bytes", 65_536, 1 << 40), "Of all that is kept, at most."),
    )
    marks: Marks = _marks()


@dataclass(frozen=True, slots=True)
class UpstreamSpec:
    """A foreign HTTP server, whose replies are handed on as they come."""

    urls: tuple[str, ...] = field(metadata=key(keys.Items(URL, "a list of URLs"), "Its base addresses."))
    name: str | None = field(
        default=None,
        metadata=key(keys.NAME, "What it is called; the last word of the route's path if left out."),
    )
    path: str | None = field(default=None, metadata=key(PATH, "Its path; the route's own if left out."))
    headers: dict[str, Any] = field(
        default_factory=dict,
        metadata=key(
            keys.Table(HEADER, keys.Json(secrets=True), "a mapping of headers to values"),
            "Sent with each request; {secret: NAME} for a key.",
        ),
    )
    connections: int = field(
        default=1024,
        metadata=key(
            keys.Whole("a number of connections", 1, 65_536),
            "To each address at a time, in each process; further requests wait.",
        ),
    )
    api_key: Any = field(
        default=None,
        metadata=key(keys.Json(secrets=True), "Sent as 'Authorization: Bearer': {secret: NAME}."),
    )
    forward: tuple[str, ...] = field(
        default=(),
        metadata=key(
            keys.Items(HEADER, "a list of headers"),
            "Handed on, though they are held back otherwise: authorization, cookie, set-cookie, ...",
        ),
    )
    marks: Marks = _marks()


@dataclass(frozen=True, slots=True)
class BackendSpec:
    """How the endpoints behind a route are used."""

    balance: Literal["least-in-flight", "latency", "prefix"] = field(
        default="least-in-flight",
        metadata=key(
            keys.Choice(("least-in-flight", "latency", "prefix")),
            "Which endpoint is asked: the least busy, the quickest, or the one that had the same beginning.",
        ),
    )
    prefix_chars: int = field(
        default=1024,
        metadata=key(
            keys.Whole("a number of characters", 16, 65_536),
            "How much of a prompt's beginning counts; with balance: prefix.",
        ),
    )
    health: str | None = field(
        default=None, metadata=key(PATH, "A path that is asked now and then: 2xx is well.")
    )
    health_s: float = field(default=5, metadata=key(_SECONDS, "Seconds between two looks; with health."))
    unwell_after: int = field(
        default=2,
        metadata=key(keys.Whole("a number of looks", 1, 100), "Bad looks in a row that make it unwell."),
    )
    well_after: int = field(
        default=1,
        metadata=key(keys.Whole("a number of looks", 1, 100), "Good looks in a row that make it well again."),
    )
    idempotent: bool = field(
        default=False,
        metadata=key(
            keys.Flag(),
            "Whether asking twice is as good as asking once, where neither method nor contract says so.",
        ),
    )
    hedge_after_s: float | None = field(
        default=None, metadata=key(_SECONDS, "Ask a second endpoint after so long; the first reply counts.")
    )
    attempts: int = field(
        default=2, metadata=key(keys.Whole("a number of attempts", 1, 10), "How often, the first included.")
    )
    fallback: tuple[str, ...] = field(
        default=(),
        metadata=key(keys.Items(keys.NAME, "a list of route targets"), "Asked in turn when this one fails."),
    )
    marks: Marks = _marks()


@dataclass(frozen=True, slots=True)
class LoadSpec:
    """What happens when more comes than can be served."""

    concurrent: int | None = field(
        default=None,
        metadata=key(
            keys.Whole("a number of requests", 1, 1_000_000), "At a time; found out from latency if left out."
        ),
    )
    queue: int = field(
        default=128, metadata=key(keys.Whole("a number of requests", 0, 1_000_000), "How many wait.")
    )
    queue_s: float = field(default=5, metadata=key(_SECONDS, "How long each may wait."))
    priority: Condition | None = field(
        default=None,
        metadata=key(keys.Expression(), "high when true, low when false; over body, headers and caller."),
    )
    marks: Marks = _marks()


@lru_cache(maxsize=1024)
def _last_word(path: str) -> str:
    """The last segment of a path that is no placeholder; asked for each request."""
    words = [part for part in path.split("/") if part and "{" not in part]
    return words[-1] if words else path


@dataclass(frozen=True, slots=True, kw_only=True)
class RouteSpec:
    """One route: a path, what it serves, and what holds for everything that reaches that."""

    path: str = field(metadata=key(PATH, "Where it answers, beside the contract's own routes."))
    megaservice: str | None = field(default=None, metadata=key(keys.NAME, "The megaservice that it serves."))
    service: str | None = field(default=None, metadata=key(keys.NAME, "The service that it serves."))
    upstream: UpstreamSpec | None = field(
        default=None, metadata=key(keys.Block(UpstreamSpec, "upstream"), "The foreign server that it serves.")
    )
    from_: str | None = field(
        default=None,
        metadata=key(keys.ANY_TEXT, "The spec's file, relative to this one, or a packaged example."),
    )
    versions: tuple[VersionSpec, ...] = field(
        default=(),
        metadata=key(
            keys.Items(keys.Block(VersionSpec, "a version"), "a list of versions"), "Several side by side."
        ),
    )
    sticky: Literal["user", "key", "tenant", "address", "none"] = field(
        default="user",
        metadata=key(
            keys.Choice(("user", "key", "tenant", "address", "none")),
            "Who keeps the version they were given.",
        ),
    )
    methods: tuple[str, ...] = field(
        default=(), metadata=key(keys.Items(METHOD, "a list of methods"), "Of an upstream; POST if left out.")
    )
    description: str = field(default="", metadata=key(keys.ANY_TEXT, "For the API description."))
    schema: dict[str, Any] = field(
        default_factory=dict,
        metadata=key(
            keys.Table(SCHEMA_KEY, keys.Json(), "a JSON Schema"), "Of the request: checked, and described."
        ),
    )
    examples: dict[str, Any] = field(
        default_factory=dict,
        metadata=key(
            keys.Table(keys.FIELD, keys.Json(), "a mapping of names to request bodies"),
            "For the description.",
        ),
    )
    roles: tuple[str, ...] = field(
        default=(), metadata=key(keys.Items(keys.NAME, "a list of roles"), "One of which a caller needs.")
    )
    request: TransformSpec | None = field(
        default=None, metadata=key(keys.Block(TransformSpec, "request"), "How requests are changed.")
    )
    response: TransformSpec | None = field(
        default=None, metadata=key(keys.Block(TransformSpec, "response"), "How replies are changed.")
    )
    limits: tuple[LimitSpec, ...] = field(
        default=(),
        metadata=key(
            keys.Items(keys.Block(LimitSpec, "a limit"), "a list of limits"), "How much is allowed."
        ),
    )
    reserve: int | None = field(
        default=None,
        metadata=key(
            keys.Whole("a number of tokens", 1, 100_000_000),
            "Tokens that a request may use at most, where its plan has no such bound.",
        ),
    )
    cache: CacheSpec | None = field(
        default=None, metadata=key(keys.Block(CacheSpec, "cache"), "Keeps replies; off if left out.")
    )
    backends: BackendSpec | None = field(
        default=None, metadata=key(keys.Block(BackendSpec, "backends"), "How its endpoints are used.")
    )
    load: LoadSpec | None = field(
        default=None, metadata=key(keys.Block(LoadSpec, "load"), "What happens under too much load.")
    )
    timeout_s: float | None = field(default=None, metadata=key(_SECONDS, "Seconds that a request may take."))
    max_body_bytes: int | None = field(
        default=None,
        metadata=key(
            keys.Whole("a number of bytes", 1, 100 * 1024 * 1024),
            "A longer body is refused; 32 MiB of JSON and 100 MiB of uploads if left out.",
        ),
    )
    heartbeat_s: float = field(
        default=15, metadata=key(_SECONDS, "A comment is sent on a stream that is silent for so long.")
    )
    marks: Marks = _marks()

    @property
    def target(self) -> str:
        """The name of what it serves: its model name."""
        named = self.megaservice or self.service
        if named is None and self.upstream is not None:
            named = self.upstream.name
        return named or _last_word(self.path)


@dataclass(frozen=True, slots=True, kw_only=True)
class OidcSpec:
    """Whose tokens are taken."""

    issuer: str = field(metadata=key(URL, "The provider: its configuration is found from here."))
    audience: str = field(metadata=key(keys.ANY_TEXT, "What a token's aud must be."))
    algorithms: tuple[str, ...] = field(
        default=("RS256", "ES256"),
        metadata=key(
            keys.Items(
                keys.Choice(
                    ("RS256", "RS384", "RS512", "ES256", "ES384", "PS256", "PS384", "PS512", "EdDSA")
                ),
                "a list of algorithms",
            ),
            "The only ones that a signature may have.",
        ),
    )
    client_id: str | None = field(
        default=None, metadata=key(keys.ANY_TEXT, "For login on the page; the audience if left out.")
    )
    client_secret: Any = field(
        default=None, metadata=key(keys.Json(secrets=True), "For login on the page: {secret: NAME}.")
    )
    callback: str | None = field(
        default=None,
        metadata=key(
            URL,
            "Where the provider sends people back to: https://HOST/login/callback; behind a proxy that ends TLS.",
        ),
    )
    tenant: str | None = field(
        default=None,
        metadata=key(
            keys.ANY_TEXT,
            "The claim that names the tenant, without which nobody gets in; left out: one tenant.",
        ),
    )
    readers: str = field(
        default="groups",
        metadata=key(
            keys.ANY_TEXT, "The claim that names the groups whose documents are read; inner ones by dots."
        ),
    )
    marks: Marks = _marks()


@dataclass(frozen=True, slots=True)
class AuthSpec:
    """Who may call; without it, the access token and loopback of every Weft server hold."""

    keys_: bool = field(default=False, metadata=key(keys.Flag(), "API keys, made by weft keys."))
    accounts: bool = field(default=False, metadata=key(keys.Flag(), "Local accounts, by invitation."))
    oidc: OidcSpec | None = field(
        default=None, metadata=key(keys.Block(OidcSpec, "oidc"), "Tokens of an OpenID Connect provider.")
    )
    certificates: bool = field(
        default=False, metadata=key(keys.Flag(), "The client certificate of a tls listener names the caller.")
    )
    certificate_tenant: Literal["organizationName", "organizationalUnitName"] | None = field(
        default=None,
        metadata=key(
            keys.Choice(("organizationName", "organizationalUnitName")),
            "The part of its subject that names the tenant; left out: one tenant.",
        ),
    )
    session_s: float = field(
        default=43_200, metadata=key(keys.Number("a number of seconds", 2_592_000), "How long a login lasts.")
    )
    roles: dict[str, Condition] = field(
        default_factory=dict,
        metadata=key(
            keys.Table(keys.NAME, keys.Expression(), "a mapping of roles to conditions"),
            "Who has a role; over claims, caller, tenant and scopes.",
        ),
    )
    anonymous: bool = field(
        default=False,
        metadata=key(keys.Flag(), "Whether one who shows nothing may call routes without roles."),
    )
    marks: Marks = _marks()


@dataclass(frozen=True, slots=True)
class PriceSpec:
    """What a million tokens of a model cost."""

    name: str
    input: float = field(metadata=key(keys.Limit(), "A million tokens read."))
    output: float = field(metadata=key(keys.Limit(), "A million tokens written."))
    marks: Marks = _marks()


@dataclass(frozen=True, slots=True)
class StateSpec:
    """Where several gateways keep what they share; in memory and the data folder if left out."""

    redis: Any = field(
        default=None,
        metadata=key(keys.Json(secrets=True), "Limits: redis://HOST:PORT, or {secret: NAME} of one."),
    )
    postgresql: Any = field(
        default=None,
        metadata=key(
            keys.Json(secrets=True), "Keys, accounts, audit, registry: postgresql://..., or {secret: NAME}."
        ),
    )
    stale_s: float = field(
        default=300,
        metadata=key(
            _SECONDS, "While PostgreSQL is away: how long the API keys that are known hold; then 503."
        ),
    )
    on_store_down: Literal["deny", "local_share"] = field(
        default="deny",
        metadata=key(
            keys.Choice(("deny", "local_share")),
            "While the limits' store is away: refuse what is limited, or let each gateway have its share.",
        ),
    )
    gateways: int = field(
        default=1,
        metadata=key(keys.Whole("a number of gateways", 1, 10_000), "Among how many the share is divided."),
    )
    marks: Marks = _marks()


@dataclass(frozen=True, slots=True)
class DrainSpec:
    """How a gateway process ends that is told to: it says that it is not ready, is served on, ends what is under way."""

    delay_s: float = field(
        default=0,
        metadata=key(
            _SECONDS,
            "Seconds that it is served on after /health/ready says no: longer than a load balancer takes to notice.",
        ),
    )
    timeout_s: float = field(
        default=30, metadata=key(_SECONDS, "Seconds that requests under way may take to end.")
    )
    marks: Marks = _marks()


@dataclass(frozen=True, slots=True)
class CorsSpec:
    """Pages of other origins that may call; none if left out."""

    origins: tuple[str, ...] = field(
        default=(), metadata=key(keys.Items(URL, "a list of origins"), "https://chat.example")
    )
    headers: tuple[str, ...] = field(
        default=(), metadata=key(keys.Items(HEADER, "a list of headers"), "That they may send beside ours.")
    )
    max_age_s: int = field(
        default=600, metadata=key(keys.Whole("a number of seconds", 0, 86_400), "How long they remember it.")
    )
    marks: Marks = _marks()


@dataclass(frozen=True, slots=True, kw_only=True)
class GatewaySpec:
    """One document of kind Gateway: the front door, and nothing else is exposed."""

    name: str = field(metadata=key(keys.NAME, "Its name, in logs and its API description."))
    description: str = field(default="", metadata=key(keys.ANY_TEXT, "For its API description."))
    listen: tuple[ListenSpec, ...] = field(
        default=(),
        metadata=key(
            keys.Items(keys.Block(ListenSpec, "a listener"), "a list of listeners"),
            "Where it listens; what the command line says if left out.",
        ),
    )
    hosts: tuple[str, ...] = field(
        default=(),
        metadata=key(keys.Items(keys.ANY_TEXT, "a list of names"), "Names under which it may be reached."),
    )
    routes: tuple[RouteSpec, ...] = field(
        metadata=key(keys.Items(keys.Block(RouteSpec, "a route"), "a list of routes"), "What it serves.")
    )
    limits: tuple[LimitSpec, ...] = field(
        default=(),
        metadata=key(
            keys.Items(keys.Block(LimitSpec, "a limit"), "a list of limits"),
            "How much is allowed over all routes together, beside what each route says.",
        ),
    )
    auth: AuthSpec | None = field(default=None, metadata=key(keys.Block(AuthSpec, "auth"), "Who may call."))
    prices: dict[str, PriceSpec] = field(
        default_factory=dict,
        metadata=key(
            keys.Table(
                keys.Text("a model's name", r"[^\s]+", "text without spaces", "bad-name"),
                keys.Block(PriceSpec, "a price"),
                "a mapping of models to prices",
            ),
            "What tokens cost, in one currency.",
        ),
    )
    state: StateSpec = field(
        default_factory=StateSpec,
        metadata=key(keys.Block(StateSpec, "state"), "What several gateways share."),
    )
    cors: CorsSpec = field(
        default_factory=CorsSpec, metadata=key(keys.Block(CorsSpec, "cors"), "Pages of other origins.")
    )
    compress_from: int | None = field(
        default=None,
        metadata=key(
            keys.Whole("a number of bytes", 1, 1_000_000_000),
            "Whole replies of so many bytes and more are compressed (gzip) for clients that take it; none if left out.",
        ),
    )
    access_log: bool = field(
        default=True,
        metadata=key(keys.Flag(), "Whether each request is a line of the log, without its content."),
    )
    drain: DrainSpec = field(
        default_factory=DrainSpec,
        metadata=key(keys.Block(DrainSpec, "drain"), "How its processes end."),
    )
    marks: Marks = _marks()


def secrets_of(spec: GatewaySpec) -> list[str]:
    """The names of the secrets that it speaks of."""
    found: list[Any] = [spec.state.redis, spec.state.postgresql]
    if spec.auth is not None and spec.auth.oidc is not None:
        found.append(spec.auth.oidc.client_secret)
    for route in spec.routes:
        if route.upstream is not None:
            found += [*route.upstream.headers.values(), route.upstream.api_key]
    return sorted({value.name for value in found if isinstance(value, SecretRef)})


Document = ServicesSpec | MegaserviceSpec | PlacementSpec | GatewaySpec
"""What one document of a file declares."""

KINDS: Final[dict[str, type[Document]]] = {
    "Services": ServicesSpec,
    "Megaservice": MegaserviceSpec,
    "Placement": PlacementSpec,
    "Gateway": GatewaySpec,
}
