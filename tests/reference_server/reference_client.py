#!/usr/bin/env python3
"""One round of a client of the existing family: fetch the services, sample one, report it.

    reference_client.py SERVER_URL CLIENT_ID

Prints what it was told and what it sent as one JSON line. Fails if the server refuses anything.
"""

import json
import sys

import requests

TIMEOUT_S = 30


def main(server, client_id):
    # Without the slash at the end; `requests` follows the redirect.
    answer = requests.get(f"{server}/api/client/config/{client_id}", timeout=TIMEOUT_S)
    answer.raise_for_status()
    services = answer.json()["services"]
    known = [name for name, service in services.items() if service[0] in PLUGINS]
    if not known:
        sys.exit(f"{server} names no plugin that this client has: {services}")

    service_name = known[0]
    data = PLUGINS[services[service_name][0]]()
    sent = {
        "client_id": client_id,
        "service_name": service_name,
        "data": json.dumps(data),
    }
    answer = requests.post(
        f"{server}/api/client/service/report/", data=sent, timeout=TIMEOUT_S
    )
    answer.raise_for_status()

    print(
        json.dumps(
            {
                "services": services,
                "service_name": service_name,
                "data": data,
                "answer": answer.text,
            }
        )
    )


def fake_cpu():
    """The family's plugins cut their numbers out of a program's output and leave them text."""
    return {
        "status": 0,
        "user": "12.50",
        "nice": "0.00",
        "system": "3.25",
        "iowait": "0.25",
        "steal": "0.00",
        "idle": "84.00",
    }


PLUGINS = {"get_linux_cpu": fake_cpu}

if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit("Usage: reference_client.py SERVER_URL CLIENT_ID")
    main(sys.argv[1].rstrip("/"), sys.argv[2])
