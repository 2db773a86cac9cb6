"""The web console (extra ``[web]``). Only this package imports FastAPI and uvicorn."""
