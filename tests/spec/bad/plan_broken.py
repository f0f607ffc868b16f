"""A component whose module cannot be imported."""

import weft_no_such_module  # noqa: F401 - the fault that is tested
