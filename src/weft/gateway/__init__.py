"""The application that users talk to: model names, OpenAI's and OPEA's routes, the registry's, the pages.

Here does not belong: how a graph runs (``run``), how a service is served (``serve``).
"""
