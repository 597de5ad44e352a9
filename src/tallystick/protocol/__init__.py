"""Bytes and values, never sockets: what travels between processes, and what a request means. Pure."""
