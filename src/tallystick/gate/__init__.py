"""What a version must reproduce before it gets traffic: golden rows of training, and what became of them then.

`golden` is the file, written where the model is trained; `checks` asks the rungs of the ladder, `predictions` and
`tolerance` say what is the same answer, and `report` is what was found. Runs in workers, in the
model's own environment: of other packages it imports numpy, pandas and msgspec only.
"""
