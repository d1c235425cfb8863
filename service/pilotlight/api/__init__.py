"""HTTP: from requests to parameters of what lies below, and from its events to responses.

`serving.py` has the way of a request; the folders have one part of it each.
"""
