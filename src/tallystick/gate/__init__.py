"""What a version must reproduce before it gets traffic: golden rows of training, and what became of them then.

`golden` is the file, written where the model is trained; `report` what a check of it found. Runs in workers, in the
model's own environment: of other packages it imports numpy, pandas and msgspec only.
"""
