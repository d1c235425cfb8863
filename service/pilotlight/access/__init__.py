"""Who is calling, and whether they may: API keys, and proxies that vouch for users."""

from pilotlight.access.authenticator import Authenticator
from pilotlight.access.caller import ANONYMOUS, Caller

__all__ = ("ANONYMOUS", "Authenticator", "Caller")
