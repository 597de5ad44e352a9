"""Other tools on the very cases of ParityBench, each in an environment of its own.

`files` writes the cases once; `adapters/` holds one script a tool, which is run by that tool's Python and may import
that tool, pandas and `adapters/common.py` only; `scoring` turns what a tool said into the scores of ParityBench.
"""
