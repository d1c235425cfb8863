"""Errors of chat templates, in a module that does not import jinja2.

ChatTemplateError
├── TemplateInvalid     the source does not compile; the model cannot chat
├── TemplateRefused     the template rejects the messages, with a reason for the client
├── TemplateFailed      rendering failed
│   └── TemplateExceeded    it exceeded its limits
└── NoSharedPrefix     conversations with one system prompt do not begin with it
"""


class ChatTemplateError(Exception):
    """A chat template cannot be used."""


class TemplateInvalid(ChatTemplateError):
    """The source does not compile."""


class TemplateRefused(ChatTemplateError):
    """The template called `raise_exception`; the message is its own."""


class TemplateFailed(ChatTemplateError):
    """The template failed while it was rendered."""


class TemplateExceeded(TemplateFailed):
    """The template exceeded its limits."""


class NoSharedPrefix(ChatTemplateError):
    """The template does not begin every request with the system prompt as it is."""
