"""The nodes around a model that make it answer from documents: the question, the prompt, the reply.

Here belongs what is said to a model and what is said to a person about its answer. Finding passages (``retriever``) and
running models (``chat``) do not.
"""
