"""One module a revision; the number in its name is the revision."""
