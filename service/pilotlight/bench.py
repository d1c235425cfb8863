"""A load generator that speaks HTTP only."""
