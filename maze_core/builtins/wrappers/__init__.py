"""Env wrappers, each in scalar form and, where it makes sense, for many envs at once.

In vector form an env that is idle, because its episode ended and it was not reset, has reward 0
and flags that are False; wrappers keep it so.
"""
