"""What every endpoint shares of HTTP: bodies, streams, errors, keys, limits, logs."""
