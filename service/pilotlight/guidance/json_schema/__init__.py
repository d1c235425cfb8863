"""JSON Schemas: which are supported, and how they are rewritten for llguidance. Pure."""
