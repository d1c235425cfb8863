"""`python -m pilotlight_backend.isolation CONNECTION ROW SERVICE MODEL`; see `child.main`."""

import sys

from pilotlight_backend.isolation.child import main

main(*map(int, sys.argv[1:4]))
