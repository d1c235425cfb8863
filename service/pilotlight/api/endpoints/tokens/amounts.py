"""What a request for tokens has that settings limit."""

from pilotlight.api.endpoints.chat.amounts import chat_tools
from pilotlight.api.params.amounts import Taken, messages
from pilotlight.schema.tokens import TokenizeRequest


def amounts(asked: TokenizeRequest) -> Taken:
    """Yield the amounts of *asked*."""
    yield from messages("messages", asked.messages)
    yield from chat_tools(asked.tools)
