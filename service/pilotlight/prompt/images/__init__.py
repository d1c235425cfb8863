"""Images of requests: their sources, their limits, and their pixels."""
