"""``python -m benchmarks``: the same as ``linsim bench``."""

import sys

from linsim.cli import main

if __name__ == "__main__":
    main(["bench", *sys.argv[1:]])
