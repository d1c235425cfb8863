"""`python -m pilotlight_isolation SOCKET ROW SERVICE MODEL`; see `child.main`."""

import sys

from pilotlight_isolation.child import main

main(*map(int, sys.argv[1:4]))
