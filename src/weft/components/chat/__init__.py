"""Components of the ``chat`` contract: one file for each engine or protocol.

Here belongs what turns messages into an answer. Prompts, quotes and citations do not: they are components of ``rag``.
"""
