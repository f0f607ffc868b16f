"""Runs a plan: concurrency, skipping, streams, deadlines, retries, cancellation, the journal; and binds its services.

Here belongs what happens between a request to a megaservice and its reply. Here does not belong: how a service is
reached (``transport``), what a spec means (``plan``), HTTP (``serve``).
"""

from weft.run.breaker import Breaker, Breakers
from weft.run.budget import RetryBudget
from weft.run.handles import Handle, bind, handle
from weft.run.runner import Runner
from weft.run.step import Tools
from weft.run.stream import RunStream

__all__ = ["Breaker", "Breakers", "Handle", "RetryBudget", "RunStream", "Runner", "Tools", "bind", "handle"]
