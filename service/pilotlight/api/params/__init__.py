"""What fields that several APIs have mean to a generation: sampling, tools, reasoning, limits."""
