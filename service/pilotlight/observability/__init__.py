"""Logs, metrics, traces and the timing of requests and loads."""
