"""Reports and the states of triggers in Redis, where the larger servers of this family keep them.

Each report is appended to the list of its host and service, of which the newest stay, and to a list of all. Then the
host's triggers are worked out from what is there, before the client has its answer: whatever fails there, an item that
a report lacks as well, is an answer of 500.
"""

import json
import time
from functools import cache

import redis
from django.conf import settings
from redis.backoff import NoBackoff
from redis.retry import Retry

# So many of a service stay for its triggers.
NEWEST = 100

REPORTS = "reports"
TRIGGERS = "triggers"


@cache
def connection():
    # One attempt, as the clients of the time made it.
    once = Retry(NoBackoff(), 0)
    return redis.Redis(port=settings.REDIS_PORT, retry=once, decode_responses=True)


def store(host, service_name, data, extra):
    report = {
        "client_id": host.pk,
        "service_name": service_name,
        "data": data,
        "extra": extra,
        "received": time.time(),
    }
    line = json.dumps(report)
    newest = f"newest:{host.pk}:{service_name}"
    connection().rpush(newest, line)
    connection().ltrim(newest, -NEWEST, -1)
    connection().rpush(REPORTS, line)
    for trigger in host.triggers(service_name):
        work_out(host, trigger, newest)


def work_out(host, trigger, newest):
    lines = connection().lrange(newest, -trigger.reports, -1)
    values = [json.loads(line)["data"][trigger.item] for line in lines]
    mean = sum(values) / len(values)
    name = f"{host.pk}:{trigger.service_name}.{trigger.item}"
    state = {"mean": mean, "is_raised": mean > trigger.above}
    connection().hset(TRIGGERS, name, json.dumps(state))
    connection().publish(TRIGGERS, name)


def lines():
    """Every report as one JSON line, in the order of arrival."""
    return connection().lrange(REPORTS, 0, -1)


def states():
    """The state of each trigger that was worked out, by its name."""
    states = connection().hgetall(TRIGGERS)
    return {name: json.loads(state) for name, state in states.items()}
