"""Start, stop and observe processes. No module here has an opinion on when."""
