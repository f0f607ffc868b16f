"""How a service is called: ``local`` (await), ``http`` (remote), ``loopback`` (encoded, without a socket).

All three look like the component itself. Here does not belong: retries, deadlines, journals (``run``).
"""
