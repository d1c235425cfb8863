"""What is recorded of requests and loads: logs, metrics, traces, timing."""
