"""`python -m roadseg`: see `roadseg.cli`."""

import sys

from roadseg.cli import main

if __name__ == "__main__":
    sys.exit(main())
