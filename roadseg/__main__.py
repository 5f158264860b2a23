"""`python -m roadseg`: see `roadseg.cli`."""

import sys

from roadseg.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
