"""Starts moto with a user, a key and the bucket `mainstem`, runs a command (or the tests that want such a server), ends moto.

moto takes the first requests without a look at their signatures: those that make the user. From then on it checks them.
"""

import collections
import logging
import os
import re
import subprocess
import sys
import threading
import urllib.parse
import urllib.request

# Read by moto when it is imported.
os.environ["INITIAL_NO_AUTH_ACTION_COUNT"] = "4"

from moto.moto_server.werkzeug_app import DomainDispatcherApplication, MotoRequestHandler, create_backend_app
from werkzeug.serving import make_server

# Built as they are for all tests, so that nothing is built twice. The crate `chain` has a suite as well, which is left out.
CARGO = ["cargo", "test", "--locked", "--workspace", "--exclude", "mainstem-chain"]
TESTS = [
    [*CARGO, "--test", "bucket", "--test", "store", "--", "--include-ignored"],
    [*CARGO, "--test", "suite"],
    [*CARGO, "--test", "node", "--", "--ignored", "s3::"],
]
USER = "mainstem"
POLICY = '{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"s3:*","Resource":"*"}]}'


class Handler(MotoRequestHandler):
    """As moto's, but connections stay, and the body of an answer does not wait 40 ms until its head was acknowledged."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    asked = collections.Counter()

    def log_request(self, *_):
        self.asked[self.command] += 1


def ask(url, method, body=None, service="s3"):
    scope = f"Credential=none/20250101/us-east-1/{service}/aws4_request"
    headers = {"Authorization": f"AWS4-HMAC-SHA256 {scope}, SignedHeaders=host, Signature=none"}
    with urllib.request.urlopen(urllib.request.Request(url, body, headers, method=method), timeout=60) as answer:
        return answer.read().decode()


def iam(endpoint, **parameters):
    return ask(endpoint, "POST", urllib.parse.urlencode({"Version": "2010-05-08", **parameters}).encode(), "iam")


def main():
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    application = DomainDispatcherApplication(create_backend_app)
    server = make_server("127.0.0.1", 0, application, threaded=True, request_handler=Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    endpoint = f"http://127.0.0.1:{server.server_port}"
    iam(endpoint, Action="CreateUser", UserName=USER)
    said = iam(endpoint, Action="CreateAccessKey", UserName=USER)
    keys = [re.search(f"<{name}>(.*?)</{name}>", said)[1] for name in ("AccessKeyId", "SecretAccessKey")]
    iam(endpoint, Action="PutUserPolicy", UserName=USER, PolicyName="s3", PolicyDocument=POLICY)
    ask(f"{endpoint}/mainstem", "PUT")
    environment = {**os.environ, "MAINSTEM_S3": endpoint, "MAINSTEM_S3_KEYS": ":".join(keys)}
    for command in [sys.argv[1:]] if sys.argv[1:] else TESTS:
        code = subprocess.call(command, env=environment)
        print("requests so far:", ", ".join(f"{count} {method}" for method, count in Handler.asked.items()), flush=True)
        if code:
            return code
    return 0


if __name__ == "__main__":
    sys.exit(main())
