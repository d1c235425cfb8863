"""Engines that hang or die: detection, and what becomes of their requests."""
