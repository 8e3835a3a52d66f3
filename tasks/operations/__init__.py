"""The use cases: validate a request, accept a submission, wake a worker, read an outcome."""
