#!/usr/bin/env python3
r"""A WSGI application on flup, which serves the listening socket on descriptor 0.

In the root of a clone, after `cargo build --release`:

    $ python3 -m venv /tmp/venv && /tmp/venv/bin/pip install flup
    $ target/release/fcgi-spawn -s /tmp/py.sock -M 666 -P /tmp/py.pid -F 2 --stop-signal USR1 -- \
          /tmp/venv/bin/python examples/applications/hello.py
    $ /usr/sbin/nginx -p "$PWD" -c examples/servers/quickstart.conf -e /tmp/quickstart.log
    $ curl 'http://127.0.0.1:8081/python?name=Python'           # Hello, Python

At the end:

    $ kill $(cat /tmp/py.pid) $(cat /tmp/quickstart.pid)
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
