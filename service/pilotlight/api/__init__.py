"""HTTP: each endpoint is a handler and a projection of what lies below."""
