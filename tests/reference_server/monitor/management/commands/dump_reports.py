import json

from django.conf import settings
from django.core.management.base import BaseCommand

from monitor import in_redis
from monitor.models import ServiceReport


class Command(BaseCommand):
    help = "Prints every stored report as one JSON line, in the order of arrival."

    def handle(self, **options):
        if settings.REDIS_PORT:
            for line in in_redis.lines():
                self.stdout.write(line)
            return
        for report in ServiceReport.objects.order_by("id"):
            line = {
                "client_id": report.host_id,
                "service_name": report.service_name,
                "data": report.data,
                "extra": report.extra,
                "received": report.received.timestamp(),
            }
            self.stdout.write(json.dumps(line))
