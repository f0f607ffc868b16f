"""Components of the embedding family: one file for each engine or protocol."""
