"""Foreign protocols in front of the same routes: each translates to a contract's request, and its reply back."""
