"""For those who write components: contract tests, scripted models, a host for tests. Shipped, so that anyone can test.

Here belongs what tests a component or a service from outside: ``promises`` (what the specification says, as checks),
``wire`` (the same for a service behind HTTP), the pytest classes over them, and models that say what a script says.
Here does not belong: tests of Weft itself. Nothing but the command line may import this package; pytest is needed only
by who runs the classes.
"""

from weft.testing.classes import (
    ChatContract,
    DataprepContract,
    EmbeddingContract,
    EvidenceContract,
    RerankerContract,
    RetrieverContract,
    StoreContract,
)
from weft.testing.host import serving_host
from weft.testing.scripted import ScriptedChat, ScriptedEmbedder

__all__ = [
    "ChatContract",
    "DataprepContract",
    "EmbeddingContract",
    "EvidenceContract",
    "RerankerContract",
    "RetrieverContract",
    "ScriptedChat",
    "ScriptedEmbedder",
    "StoreContract",
    "serving_host",
]
