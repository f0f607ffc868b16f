"""Gateways with limits, in front of a scripted model of which a word is a token."""

from __future__ import annotations

from typing import Any

from frontkit import GATEWAY, TALK, FrontRig
from switchkit import served
from weft.gateway import build
from weft.gateway.assembly import Assembly
from weft.http.client import Endpoint
from weft.registry.components import Components
from weft.serve.access import Access

WORDS = 5
"""Tokens of a question and its answer: "Hello?", and the four words of the script."""


CHAT = '''\
from weft.testing import ScriptedChat


class Chat(ScriptedChat):
    """Is to be found by the test."""

    made = []

    def __init__(self, reply: str = "Good morning to you.") -> None:
        super().__init__(reply)
        self.made.append(self)
'''
"""The model, as a file beside the spec."""


class LimitRig(FrontRig):
    """A gateway of one process, whose model can be held up."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        (self.folder / "chat.py").write_text(CHAT)
        self.apps: list[Any] = []

    async def gateway(self, text: str, access: Access | None = None, **options: Any) -> Endpoint:
        """Start a gateway, with ``peers`` as one process of several."""
        peers = options.pop("peers", {})
        self.app = build.gateway(self.assembly(text, **options), access or Access(), peers=peers)
        self.apps.append(self.app)
        self.url = await served(self.app, self.stack)
        return self.endpoint()

    def assembly(self, text: str, **options: Any) -> Assembly:
        """Kept, to be looked into."""
        self.assembled = super().assembly(text, **options)
        return self.assembled

    @property
    def models(self) -> list[Any]:
        """The scripted models of the gateways, in the order in which these were started."""
        made: list[Any] = Components().get("./chat.py:Chat", folder=self.folder).type.made
        return made

    @property
    def model(self) -> Any:
        """That of the gateway that was started last."""
        return self.models[-1]


def route(limits: str, more: str = "") -> str:
    """A route to the megaservice ``talk`` with these limits, which reserves 1500 tokens unless ``more`` bounds them."""
    more = more or "reserve: 1500"
    return f"{TALK}{GATEWAY}  - {{path: /v1/greet, megaservice: talk, limits: [{limits}], {more}}}\n"


def service(limits: str, more: str = "") -> str:
    """A route to the service ``llm`` with these limits."""
    more = more or "request: {clamp: {max_tokens: [1, 100]}}"
    return f"{TALK}{GATEWAY}  - {{path: /v1/greet, service: llm, limits: [{limits}], {more}}}\n"


def left(headers: dict[str, str], name: str) -> int:
    """What ``RateLimit`` says is left of a limit."""
    part = next(part for part in headers["ratelimit"].split(", ") if part.startswith(f'"{name}"'))
    return int(part.split(";r=")[1].split(";")[0])
