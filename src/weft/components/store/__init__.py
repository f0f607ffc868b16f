"""Stores: where passages and their vectors are kept.

Here belongs how one engine keeps, finds and deletes passages for a tenant and its readers. How passages are made
(``dataprep``) and which of those found are the best (``retriever``, ``reranker``) do not.
"""
