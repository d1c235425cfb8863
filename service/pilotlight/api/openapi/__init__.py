"""The OpenAPI document, made from the operations beside the handlers and from the wire types."""
