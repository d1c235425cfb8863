"""A plugin whose runtime is missing: importing it raises, as a missing shared library does."""

raise ImportError("libfake.so: cannot open shared object file: No such file or directory")
