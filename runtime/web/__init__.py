"""The web console: extra ``[web]``. Nothing outside this folder imports FastAPI or uvicorn."""
