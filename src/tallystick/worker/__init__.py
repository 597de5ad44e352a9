"""One model, one process; it knows no endpoints, databases or other workers."""
