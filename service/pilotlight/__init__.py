"""Pilotlight: language models behind the OpenAI API, from containers that scale to zero."""

__version__ = "0.1.0"
