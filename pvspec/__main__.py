"""`python -m pvspec`."""

import sys

from pvspec.cli import main

sys.exit(main())
