"""Components beside a spec that are not quite."""


class Idle:
    """Can do nothing."""
