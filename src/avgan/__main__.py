"""`python -m avgan` is the command line."""

import sys

from avgan.cli import main

if __name__ == "__main__":
    sys.exit(main())
