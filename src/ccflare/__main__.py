"""`python -m ccflare` is `ccflare`."""

import sys

from ccflare.cli import main

if __name__ == "__main__":
    sys.exit(main())
