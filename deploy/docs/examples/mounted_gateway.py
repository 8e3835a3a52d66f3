"""The gateway, mounted into a FastAPI backend under /checkpoint."""

from contextlib import asynccontextmanager

from fastapi import FastAPI

from checkpoint_worker.tasks.gateway import close_gateway, make_gateway

gateway = make_gateway()  # CHECKPOINT_* from the environment; or client=your_client


@asynccontextmanager
async def lifespan(app):
    yield
    await close_gateway(gateway)  # a mounted application is not told of the end


app = FastAPI(lifespan=lifespan)
app.mount("/checkpoint", gateway)
