"""When a request runs: admission, rate limits, the fair queue, the lease of a loaded model."""
