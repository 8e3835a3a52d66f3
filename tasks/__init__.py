"""The job: what a submission is, what may happen to it, and who may ask.

Read `tasks.rules` first. A web backend imports `tasks.client`.
"""
