"""The built-in components: one folder for each contract, one file for each engine or protocol.

They come through the same entry points as anyone's. Here does not belong: anything that two of them share.
"""
