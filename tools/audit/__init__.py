"""Checks the serving requirements for known vulnerabilities; no part of the service."""
