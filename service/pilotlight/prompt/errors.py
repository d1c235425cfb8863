"""What can go wrong with a chat template; apart from it, for it imports jinja2.

ChatTemplateError
├── TemplateInvalid     the source does not compile; the model cannot chat
├── TemplateRefused     the template rejects the messages, with a reason for the client
├── TemplateFailed      rendering broke
│   └── TemplateExceeded    it left its bounds
└── PromptNotStable     conversations with one system prompt do not begin with it
"""


class ChatTemplateError(Exception):
    """Anything that goes wrong with a chat template."""


class TemplateInvalid(ChatTemplateError):
    """The source is not a template."""


class TemplateRefused(ChatTemplateError):
    """The template called `raise_exception`; the message is its own."""


class TemplateFailed(ChatTemplateError):
    """The template broke while it was rendered."""


class TemplateExceeded(TemplateFailed):
    """The template wants more than it may have."""


class PromptNotStable(ChatTemplateError):
    """The template puts before a system prompt what changes, or does not write it out as it is."""
