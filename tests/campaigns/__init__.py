"""Long runs that try to break what the server promises; too long for each change, so no part of `make test`.

`make campaign` kills processes, `make powercut` cuts the power of a disk, `make mutations` shows that both would notice
if a defence were gone.
"""
