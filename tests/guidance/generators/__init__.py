"""JSON Schemas as generators write them, and the scripts that made them; see README.md."""
