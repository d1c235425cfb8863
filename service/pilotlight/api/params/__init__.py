"""What the fields of a request mean to the generator, whichever endpoint they came to."""
