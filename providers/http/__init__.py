"""One exchange with a provider over HTTP/1.1: connect, claim, send, read."""
