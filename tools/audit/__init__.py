"""Whether what is served has known vulnerabilities: a check, and no part of the service."""
