"""HTTP for all endpoints: bodies, streams, errors, keys, limits, logs. Nothing of one API."""
