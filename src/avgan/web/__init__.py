"""The service: recordings come in over HTTP, answers go out as JSON; with a page for people.

What comes in is not trusted: it is decoded in a process of its own (`decoder`), kept short of memory, time and files.
Nothing that was received is written to disk.
"""
