"""Turn messages of several topics into even rows: the same rules for a recording and for a live robot."""
