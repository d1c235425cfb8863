"""The tool-call formats: what each is written with, and which one a chat template shows."""
