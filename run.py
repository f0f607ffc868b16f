"""``py run.py``: what ``./run`` does, where there is no shell."""

import sys

from bootstrap import main

if __name__ == "__main__":
    main(["run", *sys.argv[1:]])
