"""The monitor: reads what was recorded, compares it with training, and says why live predictions are odd.

A process of its own, which nothing needs to serve. It stays small until a served model has a reference and rows came:
pandas, scipy and the readers of tables are imported then. What may live here: reading new rows, counting them, looking
for what moved, diagnosing, keeping incidents, telling control and a webhook. How a cause is found is `parity`'s.
"""
