"""The only network code of the data plane: an HTTP/1.1 server, a keep-alive client, and server-sent events.

Here belongs what moves bytes and bounds them: framing, limits, timeouts, backpressure, cancellation, connections.
Routes, contracts, retries across replicas, authentication and metrics formats do not: they live on the floors above.
Every module imports ``weft.errors`` at most, so that any floor can use it.
"""
