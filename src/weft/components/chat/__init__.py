"""Components of the chat family: one file for each engine or protocol."""
