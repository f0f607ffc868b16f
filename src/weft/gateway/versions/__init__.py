"""Versions of one target side by side: which one answers a request, and what is said of those that end.

Where the versions come from is :mod:`weft.spec.merge`'s; how a new file takes the place of one that runs is
:mod:`weft.gateway.reload`'s.
"""
