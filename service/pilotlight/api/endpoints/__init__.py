"""What is one endpoint's own: its handler, its conversation and parameters, its responses."""
