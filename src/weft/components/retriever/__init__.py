"""Retrievers: a question in, the passages that may answer it out.

Here belongs how passages are found and what their order says. Keeping them (``store``) and looking at them more
closely (``reranker``, ``evidence``) do not.
"""
