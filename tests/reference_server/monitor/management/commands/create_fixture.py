from django.core.management.base import BaseCommand
from django.db import transaction

from monitor.models import Host, HostGroup, Service, Template, Trigger


class Command(BaseCommand):
    help = "Creates host 1 with one template of its own and one by way of its group."

    @transaction.atomic
    def handle(self, **options):
        of_host = Template.objects.create(name="Linux host")
        of_host.services.add(
            Service.objects.create(
                name="LinuxCPU", plugin_name="get_linux_cpu", interval=1
            ),
        )
        of_host.triggers.add(
            # It is never raised, and the next one always is.
            Trigger.objects.create(
                service_name="LinuxCPU", item="iowait", reports=3, above=1000
            ),
        )
        of_group = Template.objects.create(name="Linux basics")
        of_group.services.add(
            Service.objects.create(
                name="LinuxMemory", plugin_name="get_memory_info", interval=1
            ),
            Service.objects.create(
                name="LinuxNetwork", plugin_name="GetNetworkStatus", interval=2
            ),
        )
        of_group.triggers.add(
            Trigger.objects.create(
                service_name="LinuxMemory", item="MemUsage_p", reports=3, above=0
            ),
        )
        group = HostGroup.objects.create(name="Linux")
        group.templates.add(of_group)
        host = Host.objects.create(pk=1, name="host-1")
        host.groups.add(group)
        host.templates.add(of_host)
