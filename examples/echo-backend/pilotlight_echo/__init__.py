"""A Pilotlight backend to copy: its language model repeats the user's last turn."""
