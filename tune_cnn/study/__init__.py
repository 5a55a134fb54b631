"""Joins the other rooms: what each command does, and `Study` and `Front` for Python."""
