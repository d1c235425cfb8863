"""From a model's name to a loaded engine: registry, catalog, resolver, pool."""
