"""Authentication: API keys, and users that trusted proxies have signed in."""

from pilotlight.access.authenticator import Authenticator
from pilotlight.access.caller import ANONYMOUS, Caller

__all__ = ("ANONYMOUS", "Authenticator", "Caller")
