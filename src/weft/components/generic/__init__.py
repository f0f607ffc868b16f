"""Components of the generic family: one file for each engine or protocol."""
