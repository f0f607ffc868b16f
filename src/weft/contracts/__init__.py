"""What each family of components promises: requests, responses, chunks, routes, wire forms and Protocols.

One file per family. Here belongs what serve, gateway, transport and components must agree on. Here does not
belong: how anything is done.
"""

from weft.contracts.base import Contract, Form, Operation, Route

__all__ = ["Contract", "Form", "Operation", "Route"]
