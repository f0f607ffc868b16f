"""A service becomes an application: routes, health, access, lifespan, the Host of components, worker processes.

Here does not belong: model names, versions and pages (``gateway``), how a graph runs (``run``), bytes on the
wire (``http``).
"""
