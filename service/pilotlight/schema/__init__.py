"""Wire types only: one module per endpoint, one configured base per direction.

`UNSET` is a field that is absent, `None` one that is null. The OpenAPI document is made from these
types, so what they say is what the decoder does.
"""
