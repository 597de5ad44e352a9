"""The commands, one module a topic: parse what was typed, call the client, say what came of it.

`config_edit`, `words` and `durations` are pure. Modules import heavy things inside functions, so that
`tallystick --help` stays quick and the server's own process (`serve`) small.
"""
