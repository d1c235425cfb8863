"""What all endpoints share of HTTP: bodies, streams, errors, keys, limits, logs. No API's words."""
