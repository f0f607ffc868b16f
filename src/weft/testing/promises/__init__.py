"""What ``docs/spec/microservice.md`` promises of each contract, as checks: one file per family.

Each check is one sentence of the specification, in its words, and says where it stands. It is a plain coroutine over a
:class:`~weft.testing.promises.base.Subject`, which is a component in this process or a live service: the pytest classes
and ``weft conform`` run the same ones.
"""
