"""Rerankers: passages in, the best of them in order out.

Here belongs looking at each passage beside the question. Finding passages among all (``retriever``) does not.
"""
