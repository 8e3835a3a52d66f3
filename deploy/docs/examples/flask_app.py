"""A Flask backend: a view that submits a code and answers with its outcome."""

from flask import Flask, request

from checkpoint_worker.tasks.client import CheckpointClient, CheckpointError

app = Flask(__name__)
client = CheckpointClient()  # one for the process, shared by its threads


@app.errorhandler(CheckpointError)
def refused(error):
    return error.body, error.status


@app.post("/accounts/checkpoint")
def checkpoint():
    given = request.get_json()
    submission = client.submit(
        account_id=given.get("account_id"), provider=given.get("provider"), code=given.get("code")
    )
    outcome = client.wait(submission.id)
    if outcome is None or not outcome.is_final:
        return {"ask_again_for": submission.id}, 503
    return outcome.body, outcome.status
