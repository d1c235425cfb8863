"""Models from an address: where they lie, what is missing of them, and how it is fetched."""
