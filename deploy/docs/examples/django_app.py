"""A Django backend: a view that submits a code and answers with its outcome."""

import json

from django.http import JsonResponse
from django.urls import path
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import require_POST

from checkpoint_worker.tasks.client import CheckpointClient, CheckpointError

client = CheckpointClient()  # one for the process, shared by its threads


@csrf_exempt  # here your own authentication
@require_POST
def checkpoint(request):
    given = json.loads(request.body)
    try:
        submission = client.submit(
            account_id=given.get("account_id"),
            provider=given.get("provider"),
            code=given.get("code"),
        )
        outcome = client.wait(submission.id)
    except CheckpointError as error:
        return JsonResponse(error.body, status=error.status)
    if outcome is None or not outcome.is_final:
        return JsonResponse({"ask_again_for": submission.id}, status=503)
    return JsonResponse(outcome.body, status=outcome.status)


urlpatterns = [path("accounts/checkpoint", checkpoint)]
