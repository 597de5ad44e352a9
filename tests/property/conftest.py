"""How property tests draw: the same examples on every run of `make test`, new ones on every `make fuzz`.

A draw that fails once in a thousand runs is a bug to look for on purpose, not a reason for a commit to be red by chance.
"""

import os

from hypothesis import settings

settings.register_profile("fixed", derandomize=True, deadline=None)
settings.register_profile("explore", derandomize=False, deadline=None, max_examples=300, print_blob=True)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "fixed"))
