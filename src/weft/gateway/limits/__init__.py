"""How much somebody may use: requests, tokens, cost and concurrency, counted exactly, in memory or in Redis.

Here does not belong: how much the backends can bear (``gateway.load``), who somebody is (``gateway.access``).
"""
