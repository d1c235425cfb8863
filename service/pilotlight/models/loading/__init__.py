"""Loading one model: fetch, read, load, warm up; progress, deadline and history."""
