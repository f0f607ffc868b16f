"""Foreign HTTP servers behind routes: requests and replies are handed on as they come.

Here belongs: which headers pass, the way to an upstream and back, its endpoints and their health. Here does not belong:
how endpoints are chosen among (``transport.replicas``), what a route does before (the other parts of ``gateway``).
"""
