"""Detectors: pure functions from live rows to findings, one module per family.

A detector only proposes; what is claimed is decided in `tallystick.parity.diagnose`.
"""
