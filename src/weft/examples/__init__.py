"""The packaged example specs: data, not code.

Here belong YAML files that run as they are (``weft up NAME``) and that a newcomer copies from. Nothing imports this.
"""
