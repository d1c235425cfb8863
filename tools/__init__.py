"""What the project is built, checked and released with; none of it is served."""
