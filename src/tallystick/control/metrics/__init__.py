"""Numbers of the server: added up from what gateways and the recorder report, shown as Prometheus text.

`names` says what there is; `tally` adds up, `samples` reads a view of the server, `text` renders, `source` joins them.
Nothing here decides anything, and no number is kept over a restart.
"""
