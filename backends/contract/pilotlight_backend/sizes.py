"""Amounts of memory, as messages have them."""


def memory_size(count: int) -> str:
    """Return *count* bytes for a reader: `22.94 GB`, and small ones exactly."""
    if count < 1_000_000:  # noqa: PLR2004 - the least megabyte
        return f"{count} bytes"
    return f"{count / 1e6:.1f} MB" if count < 1e9 else f"{count / 1e9:.2f} GB"  # noqa: PLR2004 - the least gigabyte
