"""Training-serving consistency: what training looked like, and why live rows differ from it.

    from tallystick.parity import Reference, diagnose
    reference = Reference.from_frame(X_train, model=model, y=y_train)
    print(diagnose(reference, live))

Pure but for `Reference.save` and `load`. Imports numpy, scipy, pandas and msgspec; of this project
`errors` and `gate`.
"""

from tallystick.parity.diagnose import Examination, diagnose, examine
from tallystick.parity.history import History
from tallystick.parity.kinds import Family, Status
from tallystick.parity.reference import Reference
from tallystick.parity.report import render_html
from tallystick.parity.verdict import Verdict

__all__ = ["Examination", "Family", "History", "Reference", "Status", "Verdict", "diagnose", "examine", "render_html"]
