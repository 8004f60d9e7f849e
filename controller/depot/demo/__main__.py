"""`python -m depot.demo`."""

import sys

from depot.demo.command import main

sys.exit(main())
