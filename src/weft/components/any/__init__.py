"""Components of whichever contract their config names. One file per way to be told.

Here belongs what maps, not what knows a family: a component for one contract lives in that contract's folder.
"""
