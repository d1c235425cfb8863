"""The process: its socket, uvicorn, the application, and an orderly shutdown."""
