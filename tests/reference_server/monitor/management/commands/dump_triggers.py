import json

from django.core.management.base import BaseCommand

from monitor import in_redis


class Command(BaseCommand):
    help = "Prints the state of every trigger as one JSON line."

    def handle(self, **options):
        for trigger, state in sorted(in_redis.states().items()):
            self.stdout.write(json.dumps({"trigger": trigger, **state}))
