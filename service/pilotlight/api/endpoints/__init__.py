"""Each endpoint: its handler, its OpenAPI operation, and its projection of the event stream."""
