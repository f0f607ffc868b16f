"""What happens when more comes than can be served: places, queues, priorities, and who is turned away at once.

Here belongs how many requests of a route run at a time in this process, who waits, and who need not wait because it
would be in vain. Here does not belong: how much somebody may use (``limits``), which endpoint is asked (``upstream``).
"""
