"""Replies kept for the next who asks the same, or nearly the same.

Here belong: under which key a reply is kept, what is near enough, who waits for whom. Here does not belong: what is kept for
one caller to come back to (``protocols.shelf``).
"""
