"""What there is: components and contracts by name (installed), services by name (alive).

Here does not belong: how a component is configured in a spec (``spec``) or called (``transport``).
"""
