"""What a contestant submits: the folder around the script, and the room in which anybody's folder is tried.

In:  a finished run, or a folder that somebody wrote.
Out: script, JSON, README, logs and requirements that agree; or what is wrong with them.
"""
