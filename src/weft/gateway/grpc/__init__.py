"""gRPC in front of the same routes: a call becomes a request of the HTTP application, and its reply a message.

Here belongs the server, the translation, and the interface (``weft_v1.proto``; ``weft_v1.binpb`` is it, compiled by
``python -m weft.gateway.grpc.compile``). Here does not belong anything that decides who may call: the routes do.
"""
