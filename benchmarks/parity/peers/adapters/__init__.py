"""One script a tool, run by that tool's own Python: cases in, one line of JSON a finding out."""
