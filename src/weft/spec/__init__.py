"""The YAML files as frozen, typed data in which every key and every value keeps its place in the text.

Here belongs: reading, writing, describing the files, and every fault that can be seen without a registry.
Not here: whether a component, a contract or a field exists and whether types fit. That is :mod:`weft.plan`.
"""
