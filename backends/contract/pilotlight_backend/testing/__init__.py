"""What tests of backends and of the service share; nothing here runs in production.

`conformance` is the suite that every backend runs, `fake` a backend without weights, `plugin` the
fake as a plugin, and the `broken_*` modules are plugins that go wrong, one way each.
"""
