"""What happened: the journal of steps and plain metrics.

Here does not belong: deciding anything. Nothing on the hot path waits for what is observed.
"""
