"""The sandbox that chat templates run in: what they may use, and how much of it."""
