from django.core.management.base import BaseCommand, CommandError

from monitor.models import Service


class Command(BaseCommand):
    help = "Changes the interval of a service."

    def add_arguments(self, parser):
        parser.add_argument("service_name")
        parser.add_argument("seconds", type=int)

    def handle(self, service_name, seconds, **options):
        if not Service.objects.filter(name=service_name).update(interval=seconds):
            raise CommandError(f"There is no service {service_name}.")
