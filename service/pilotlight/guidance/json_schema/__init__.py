"""JSON Schemas: which can be honoured, and how they are rewritten for llguidance. Pure."""
