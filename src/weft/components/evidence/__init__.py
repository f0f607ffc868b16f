"""Evidence readers: a question and passages in, the sentences that answer it out.

Here belongs which words of a passage answer a question, and whether any do. Finding passages (``retriever``) and
putting an answer into words (``chat``, ``rag``) do not.
"""
