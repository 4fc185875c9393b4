#!/usr/bin/env python3
"""A WSGI application on flup (`pip install flup`): fcgi-spawn -s /run/hello.sock -F 2 -- python3 hello.py

flup serves the listening socket on descriptor 0.
"""

import hashlib
from urllib.parse import parse_qs

from flup.server.fcgi import WSGIServer


def application(environ, start_response):
    query = parse_qs(environ.get("QUERY_STRING", ""))
    if "log" in query:
        print(query["log"][0], file=environ["wsgi.errors"])  # the web server's error log
    if environ["REQUEST_METHOD"] == "POST":
        body = environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
        text = f"{len(body)} {hashlib.sha256(body).hexdigest()}\n"
    else:
        text = f"Hello, {query.get('name', ['World'])[0]}\n"
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [text.encode()]


if __name__ == "__main__":
    WSGIServer(application).run()
