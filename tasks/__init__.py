"""Submissions: their rules, their storage, the Celery task, the client and the gateway.

Read `tasks.rules` first. A web backend imports `tasks.client`.
"""
