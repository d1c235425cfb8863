"""Wire types, and nothing else: a module or folder for each endpoint, a base for each direction.

`UNSET` is an absent field, `None` a null one. The OpenAPI document is generated from these types,
so it says what the decoder does.
"""
