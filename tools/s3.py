"""Starts moto with a user, a key and the bucket `mainstem`, runs a command (or the tests of the plugin s3), ends moto.

moto takes the first requests without a look at their signatures: those that make the user. From then on it checks them.
"""

import os
import re
import socket
import subprocess
import sys
import urllib.parse
import urllib.request

TESTS = [
    ["cargo", "test", "--locked", "--package", "mainstem-plugin-s3", "--", "--include-ignored"],
    ["cargo", "test", "--locked", "--package", "mainstem-store", "--test", "suite"],
]
USER = "mainstem"
POLICY = '{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"s3:*","Resource":"*"}]}'


def ask(url, method, body=None, service="s3"):
    scope = f"Credential=none/20250101/us-east-1/{service}/aws4_request"
    headers = {"Authorization": f"AWS4-HMAC-SHA256 {scope}, SignedHeaders=host, Signature=none"}
    with urllib.request.urlopen(urllib.request.Request(url, body, headers, method=method), timeout=60) as answer:
        return answer.read().decode()


def iam(endpoint, **parameters):
    return ask(endpoint, "POST", urllib.parse.urlencode({"Version": "2010-05-08", **parameters}).encode(), "iam")


def listens(process, log):
    """The port that moto names in its log, once it listens."""
    for line in log:
        found = re.search(r"Running on http://127\.0\.0\.1:(\d+)", line)
        if found:
            return int(found[1])
    sys.exit(f"error: moto ended with {process.wait()} before it listened")


def main():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    server = subprocess.Popen(
        [os.path.join(os.path.dirname(sys.executable), "moto_server"), "-H", "127.0.0.1", "-p", str(port)],
        env={**os.environ, "INITIAL_NO_AUTH_ACTION_COUNT": "4", "PYTHONUNBUFFERED": "1"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        endpoint = f"http://127.0.0.1:{listens(server, server.stderr)}"
        # Its log goes on; nobody reads it, and it must not wait for somebody.
        drain = subprocess.Popen(["cat"], stdin=server.stderr, stdout=subprocess.DEVNULL)
        iam(endpoint, Action="CreateUser", UserName=USER)
        said = iam(endpoint, Action="CreateAccessKey", UserName=USER)
        keys = [re.search(f"<{name}>(.*?)</{name}>", said)[1] for name in ("AccessKeyId", "SecretAccessKey")]
        iam(endpoint, Action="PutUserPolicy", UserName=USER, PolicyName="s3", PolicyDocument=POLICY)
        ask(f"{endpoint}/mainstem", "PUT")
        environment = {**os.environ, "MAINSTEM_S3": endpoint, "MAINSTEM_S3_KEYS": ":".join(keys)}
        for command in [sys.argv[1:]] if sys.argv[1:] else TESTS:
            code = subprocess.call(command, env=environment)
            if code:
                return code
        return 0
    finally:
        server.terminate()
        server.wait()


if __name__ == "__main__":
    sys.exit(main())
