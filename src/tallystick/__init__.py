"""Serve MLflow models over HTTP, split live traffic, and prove that training and serving agree."""
