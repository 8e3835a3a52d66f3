"""A FastAPI backend: one client for the process, made and closed by the lifespan."""

from contextlib import asynccontextmanager
from typing import Any

from fastapi import FastAPI
from fastapi.responses import JSONResponse

from checkpoint_worker.tasks.client import AsyncCheckpointClient, CheckpointError


@asynccontextmanager
async def lifespan(app: FastAPI):
    async with AsyncCheckpointClient() as app.state.checkpoint:
        yield


app = FastAPI(lifespan=lifespan)


@app.exception_handler(CheckpointError)
async def refused(_request, error: CheckpointError) -> JSONResponse:
    return JSONResponse(error.body, error.status)


@app.post("/accounts/checkpoint")
async def checkpoint(given: dict[str, Any]) -> JSONResponse:
    client = app.state.checkpoint
    submission = await client.submit(
        account_id=given.get("account_id"), provider=given.get("provider"), code=given.get("code")
    )
    outcome = await client.wait(submission.id)
    if outcome is None or not outcome.is_final:
        return JSONResponse({"ask_again_for": submission.id}, 503)
    return JSONResponse(outcome.body, outcome.status)
