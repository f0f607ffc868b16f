"""The command line: one file per command, and ``settings.py``, the only place that reads the environment.

Here implementations are put into Protocols. Here does not belong: anything that another program could want
without a command line.
"""
