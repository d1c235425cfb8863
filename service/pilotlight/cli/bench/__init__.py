"""Measurements of a server from outside: what its clients see."""
