"""From the journal to tables, and from tables to frames.

The recorder (`__main__`, `recorder`) is a process of its own: it reads journals and writes Delta tables, and nothing on
the request path waits for it. `reading` runs wherever a person looks at the tables.
"""
